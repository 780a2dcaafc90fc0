"""Marks and drawing that instruments, reports and rooms share."""
