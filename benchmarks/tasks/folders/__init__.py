"""Tasks whose data is a folder of the user's: parallel text, plain text, images of classes."""
