//! Reason codes, and their older cousins, the return codes.
