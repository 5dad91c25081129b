//! The messages of Intel's AESM service that a DCAP quote needs, by the field numbers of its public protocol
//! (linux-sgx, `psw/ae/aesm_service`). What is not asked for here is left out; unknown fields are skipped.
//!
//! An answer without its code counts as the code 1, as the protocol says: nothing is a success by omission.

use prost::Message;

/// One question; exactly one field is set.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// Prepare a key; TARGETINFO of the quoting enclave.
    #[prost(message, optional, tag = "15")]
    pub init_quote: Option<InitQuoteRequest>,
    /// How long a quote will be.
    #[prost(message, optional, tag = "16")]
    pub quote_size: Option<QuoteSizeRequest>,
    /// A quote.
    #[prost(message, optional, tag = "17")]
    pub quote: Option<QuoteRequest>,
    /// How many kinds of keys there are.
    #[prost(message, optional, tag = "21")]
    pub key_id_number: Option<KeyIdNumberRequest>,
    /// Which.
    #[prost(message, optional, tag = "22")]
    pub key_ids: Option<KeyIdsRequest>,
}

/// `InitQuoteExRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct InitQuoteRequest {
    /// Which kind of key.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub key_id: Option<Vec<u8>>,
    /// Whether the public key's id is wanted; without it, its length is answered.
    #[prost(bool, required, tag = "3")]
    pub with_public_key_id: bool,
    /// Room for that id, bytes.
    #[prost(uint64, optional, tag = "4")]
    pub room: Option<u64>,
    /// The service's own time limit, microseconds.
    #[prost(uint32, optional, tag = "9")]
    pub timeout_us: Option<u32>,
}

/// `GetQuoteSizeExRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct QuoteSizeRequest {
    /// Which kind of key.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub key_id: Option<Vec<u8>>,
    /// The service's own time limit, microseconds.
    #[prost(uint32, optional, tag = "9")]
    pub timeout_us: Option<u32>,
}

/// `GetQuoteExRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct QuoteRequest {
    /// REPORT for the quoting enclave, 432 bytes.
    #[prost(bytes = "vec", required, tag = "1")]
    pub report: Vec<u8>,
    /// Which kind of key.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub key_id: Option<Vec<u8>>,
    /// Room for the quote, bytes.
    #[prost(uint32, required, tag = "4")]
    pub room: u32,
    /// The service's own time limit, microseconds.
    #[prost(uint32, optional, tag = "9")]
    pub timeout_us: Option<u32>,
}

/// `GetSupportedAttKeyIDNumRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct KeyIdNumberRequest {
    /// The service's own time limit, microseconds.
    #[prost(uint32, optional, tag = "9")]
    pub timeout_us: Option<u32>,
}

/// `GetSupportedAttKeyIDsRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct KeyIdsRequest {
    /// Room for all of them, bytes.
    #[prost(uint32, required, tag = "1")]
    pub room: u32,
    /// The service's own time limit, microseconds.
    #[prost(uint32, optional, tag = "9")]
    pub timeout_us: Option<u32>,
}

/// One answer; the field of the question, or `unsupported`.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// To `init_quote`.
    #[prost(message, optional, tag = "15")]
    pub init_quote: Option<InitQuoteResponse>,
    /// To `quote_size`.
    #[prost(message, optional, tag = "16")]
    pub quote_size: Option<QuoteSizeResponse>,
    /// To `quote`.
    #[prost(message, optional, tag = "17")]
    pub quote: Option<QuoteResponse>,
    /// To a question that this service does not know.
    #[prost(message, optional, tag = "20")]
    pub unsupported: Option<CodeResponse>,
    /// To `key_id_number`.
    #[prost(message, optional, tag = "21")]
    pub key_id_number: Option<KeyIdNumberResponse>,
    /// To `key_ids`.
    #[prost(message, optional, tag = "22")]
    pub key_ids: Option<KeyIdsResponse>,
}

/// `InitQuoteExResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct InitQuoteResponse {
    /// 0 is success.
    #[prost(uint32, required, tag = "1", default = "1")]
    pub code: u32,
    /// TARGETINFO of the quoting enclave, 512 bytes.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub target_info: Option<Vec<u8>>,
    /// Length of the public key's id.
    #[prost(uint64, optional, tag = "3")]
    pub public_key_id_size: Option<u64>,
}

/// `GetQuoteSizeExResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct QuoteSizeResponse {
    /// 0 is success.
    #[prost(uint32, required, tag = "1", default = "1")]
    pub code: u32,
    /// Bytes.
    #[prost(uint32, optional, tag = "2")]
    pub quote_size: Option<u32>,
}

/// `GetQuoteExResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct QuoteResponse {
    /// 0 is success.
    #[prost(uint32, required, tag = "1", default = "1")]
    pub code: u32,
    /// The quote.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub quote: Option<Vec<u8>>,
}

/// `UnsupportedRequestResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct CodeResponse {
    /// Why.
    #[prost(uint32, required, tag = "1", default = "1")]
    pub code: u32,
}

/// `GetSupportedAttKeyIDNumResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct KeyIdNumberResponse {
    /// 0 is success.
    #[prost(uint32, required, tag = "1", default = "1")]
    pub code: u32,
    /// How many.
    #[prost(uint32, optional, tag = "2")]
    pub number: Option<u32>,
}

/// `GetSupportedAttKeyIDsResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct KeyIdsResponse {
    /// 0 is success.
    #[prost(uint32, required, tag = "1", default = "1")]
    pub code: u32,
    /// All of them, 256 bytes each.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub key_ids: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand from the protocol: (field << 3 | type), value.
    #[test]
    fn requests_have_the_field_numbers_of_the_protocol() {
        let number = Request { key_id_number: Some(KeyIdNumberRequest { timeout_us: Some(1) }), ..Request::default() };
        assert_eq!(number.encode_to_vec(), [0xaa, 0x01, 2, 0x48, 1]);
        let ids = Request { key_ids: Some(KeyIdsRequest { room: 256, timeout_us: Some(1) }), ..Request::default() };
        assert_eq!(ids.encode_to_vec(), [0xb2, 0x01, 5, 0x08, 0x80, 0x02, 0x48, 1]);
        let init = InitQuoteRequest { key_id: Some(vec![7]), with_public_key_id: false, room: Some(32), timeout_us: Some(1) };
        let init = Request { init_quote: Some(init), ..Request::default() };
        assert_eq!(init.encode_to_vec(), [0x7a, 9, 0x0a, 1, 7, 0x18, 0, 0x20, 32, 0x48, 1]);
        let size = Request { quote_size: Some(QuoteSizeRequest { key_id: Some(vec![7]), timeout_us: Some(1) }), ..Request::default() };
        assert_eq!(size.encode_to_vec(), [0x82, 0x01, 5, 0x0a, 1, 7, 0x48, 1]);
        let quote = QuoteRequest { report: vec![9], key_id: Some(vec![7]), room: 3, timeout_us: Some(1) };
        let quote = Request { quote: Some(quote), ..Request::default() };
        assert_eq!(quote.encode_to_vec(), [0x8a, 0x01, 10, 0x0a, 1, 9, 0x12, 1, 7, 0x20, 3, 0x48, 1]);
    }

    #[test]
    fn an_answer_without_a_code_is_no_success() {
        let answer = Response::decode(&[0x8a, 0x01, 3, 0x12, 1, 5][..]).unwrap();
        assert_eq!(answer.quote, Some(QuoteResponse { code: 1, quote: Some(vec![5]) }));
        let answer = Response::decode(&[0x7a, 4, 0x08, 0, 0x18, 32][..]).unwrap();
        assert_eq!(answer.init_quote, Some(InitQuoteResponse { code: 0, target_info: None, public_key_id_size: Some(32) }));
    }
}
