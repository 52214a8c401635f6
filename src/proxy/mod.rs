//! The data plane: the HTTP server in front of the EHRs, one file an endpoint.
