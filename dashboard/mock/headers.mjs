// The headers of src/control/dashboard.rs, so that tests find what its policy forbids.
export const POLICY = "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
