from __future__ import annotations

import threading

import matgl
import pytest
import torch

from matgl_fill.utils.modes import default_dtype_kept, deterministic, one_thread, single_precision, usual_autograd


@pytest.fixture(autouse=True)
def put_back():
    yield
    matgl.set_default_dtype("float", 32)
    torch.use_deterministic_algorithms(False)


def test_blocks_of_several_threads_hold_a_setting_together():
    """The block that begins first ends first: the other keeps the setting, and after it the caller's is back."""
    torch.set_default_dtype(torch.float64)
    second_began, first_ended, seen = threading.Event(), threading.Event(), []

    def second():
        with single_precision(), deterministic():
            second_began.set()
            first_ended.wait(10)
            seen.append((torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()))

    thread = threading.Thread(target=second)
    with single_precision(), deterministic():
        thread.start()
        assert second_began.wait(10)
    first_ended.set()
    thread.join()
    assert seen == [(torch.float32, True)]
    assert torch.get_default_dtype() == torch.float64
    assert not torch.are_deterministic_algorithms_enabled()


def test_matgls_own_default_is_put_back_too():
    matgl.set_default_dtype("float", 64)
    with single_precision():
        assert matgl.float_th == torch.float32
        assert torch.zeros(1).dtype == torch.float32
    assert matgl.float_th == torch.float64
    assert torch.get_default_dtype() == torch.float64


def test_a_setting_is_put_back_after_an_error():
    torch.set_default_dtype(torch.float64)
    with pytest.raises(RuntimeError, match="within"), single_precision(), deterministic():
        raise RuntimeError("within")
    assert torch.get_default_dtype() == torch.float64
    with default_dtype_kept():
        torch.set_default_dtype(torch.float32)
    assert torch.get_default_dtype() == torch.float64


def test_gradients_are_recorded_whatever_mode_the_caller_is_in():
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            with usual_autograd():
                x = torch.ones(2, requires_grad=True)
                (2 * x).sum().backward()
            assert x.grad.tolist() == [2, 2]
            assert not torch.is_grad_enabled()
    torch.set_default_device("meta")
    try:
        with usual_autograd():
            assert torch.ones(1).device.type == "cpu"
        assert torch.ones(1).device.type == "meta"
    finally:
        torch.set_default_device(None)


def test_a_thread_that_begins_within_a_block_of_another_gets_the_number_of_threads_from_before():
    """It would see the one thread of the block, work with that, and leave it behind for all threads to come."""
    before, found = torch.get_num_threads(), []
    torch.set_num_threads(3)

    def other():
        with one_thread() as threads:
            found.append(threads)

    try:
        with one_thread() as threads:
            assert torch.get_num_threads() == 1
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        assert (threads, found, torch.get_num_threads()) == (3, [3], 3)
    finally:
        torch.set_num_threads(before)
