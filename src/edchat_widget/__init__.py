"""edchat_widget."""
