//! What one client is owed.
