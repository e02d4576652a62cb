//! Who may enter.
