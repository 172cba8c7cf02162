"""What people read: tables, pictures and one page, each drawn from the same JSON that the command line prints."""
