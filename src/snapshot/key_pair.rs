//! stub
#[derive(Debug)]
pub struct ParsedKeyPair;
#[derive(Debug)]
pub struct ParsedGatewayKeys;
