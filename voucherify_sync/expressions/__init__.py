"""Small languages of the settings: directives, conditions and the filters of rows."""
