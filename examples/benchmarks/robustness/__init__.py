"""What damaged, hostile and odd input does: every one is refused with a reason or gives what it says, and none runs."""
