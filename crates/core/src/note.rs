//! Signed heads of the custody log: C2SP tlog-checkpoint inside C2SP signed-note, with Ed25519.
