"""What a command does from files to a result: read, do the work once, leave what it made.

One module a command; `reading` and `folders` are what they share.
"""
