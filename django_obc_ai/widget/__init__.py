"""The chat page and the widget: plain Django views, which need no REST framework."""
