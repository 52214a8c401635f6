//! What is read, refused and signed; the keys come from RFCs or are made on the spot. `tests/keys.rs` has the rest,
//! with openssl as the judge.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::values::secret::SecretBytes;

/// RFC 7638 §3.1.
const RFC7638_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZ\
CiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6q\
MQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

/// RFC 7515 appendix A.2.
const RFC7515_A2_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg6\
65xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RFC7515_A2_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5ju\
jGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO\
--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const RFC7515_PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn rsa_jwk(n: &str) -> Value {
    json!({"kty": "RSA", "n": n, "e": "AQAB"})
}

/// RFC 7515 appendix A.3.
fn rfc7515_a3() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn ec_pkcs8(algorithm: &'static EcdsaSigningAlgorithm) -> Vec<u8> {
    EcdsaKeyPair::generate(algorithm).unwrap().to_pkcs8v1().unwrap().as_ref().to_vec()
}

fn rsa_pkcs8() -> Vec<u8> {
    let der: Pkcs8V1Der<'_> = RsaKeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    der.as_ref().to_vec()
}

fn private_pem(der: &[u8]) -> SecretBytes {
    pem::encode(pem::PRIVATE_KEY, der).to_string().into()
}

fn p384_data() -> BTreeMap<String, SecretBytes> {
    let private = private_pem(&ec_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING));
    let key = SigningKey::from_pem(private.expose(), ParsedKeyPair::ALGORITHMS).unwrap();
    BTreeMap::from([
        (file::PRIVATE_PEM.to_owned(), private),
        (file::PUBLIC_PEM.to_owned(), key.public().to_pem().into()),
        (file::JWK_JSON.to_owned(), key.jwk().to_string().into()),
    ])
}

fn p384_identity() -> PairIdentity {
    PairIdentity { app: "schedule-sync".into(), pair: "schedule".into(), revision: 1, kind: PairKind::P384 }
}

#[test]
fn the_thumbprint_is_the_one_that_rfc_7638_computes() {
    let key = PublicKey::from_jwk(&rsa_jwk(RFC7638_N)).unwrap();
    assert_eq!(key.thumbprint().to_string(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_eq!(key.kind(), KeyKind::Rsa { bits: 2048 });
    assert_eq!("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".parse(), Ok(key.thumbprint()));
}

#[rstest]
#[case::too_short("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X")]
#[case::padded("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs=")]
#[case::not_base64url("NzbLsXh8uDCcd+6MNwXF4W/7noWXFZAfHkxZsRGC9Xs")]
#[case::bits_beyond_the_digest("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xt")]
#[case::empty("")]
fn what_is_no_thumbprint_is_refused(#[case] text: &str) {
    assert_eq!(text.parse::<Thumbprint>(), Err(ThumbprintInvalid));
    assert!(serde_json::from_value::<Thumbprint>(json!(text)).is_err());
}

#[test]
fn the_signature_of_rfc_7515_a_2_verifies_and_no_other() {
    let key = PublicKey::from_jwk(&rsa_jwk(RFC7515_A2_N)).unwrap().verifying_key(Algorithm::Rs256).unwrap();
    let input = format!("eyJhbGciOiJSUzI1NiJ9.{RFC7515_PAYLOAD}");
    let mut signature = decode(RFC7515_A2_SIGNATURE);
    assert_eq!(key.verify(input.as_bytes(), &signature), Ok(()));
    assert_eq!(key.verify(format!("{input}x").as_bytes(), &signature), Err(SignatureInvalid));
    signature[0] ^= 1;
    assert_eq!(key.verify(input.as_bytes(), &signature), Err(SignatureInvalid));
    assert_eq!(key.verify(input.as_bytes(), b""), Err(SignatureInvalid));
}

#[test]
fn the_signature_of_rfc_7515_a_3_verifies_and_no_other() {
    let key = PublicKey::from_jwk(&rfc7515_a3()).unwrap().verifying_key(Algorithm::Es256).unwrap();
    let input = format!("eyJhbGciOiJFUzI1NiJ9.{RFC7515_PAYLOAD}");
    let mut signature =
        decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    assert_eq!(key.verify(input.as_bytes(), &signature), Ok(()));
    // CVE-2022-21449: r = s = 0 must not pass for any message.
    assert_eq!(key.verify(input.as_bytes(), &[0; 64]), Err(SignatureInvalid));
    signature[63] ^= 1;
    assert_eq!(key.verify(input.as_bytes(), &signature), Err(SignatureInvalid));
}

#[rstest]
#[case(&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::Es256, KeyKind::P256)]
#[case(&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::Es384, KeyKind::P384)]
fn an_ec_key_comes_back_the_same_from_every_form(
    #[case] made_for: &'static EcdsaSigningAlgorithm,
    #[case] algorithm: Algorithm,
    #[case] kind: KeyKind,
) {
    let key = SigningKey::from_pkcs8(&ec_pkcs8(made_for), &[Algorithm::Es256, Algorithm::Es384]).unwrap();
    comes_back_the_same(&key, algorithm, kind);
}

#[test]
fn an_rsa_key_comes_back_the_same_from_every_form() {
    let der = rsa_pkcs8();
    let key = SigningKey::from_pkcs8(&der, &[Algorithm::Rs256]).unwrap();
    comes_back_the_same(&key, Algorithm::Rs256, KeyKind::Rsa { bits: 2048 });
    let key = SigningKey::from_pkcs8(&der, &[Algorithm::Rs384]).unwrap();
    comes_back_the_same(&key, Algorithm::Rs384, KeyKind::Rsa { bits: 2048 });
}

fn comes_back_the_same(key: &SigningKey, algorithm: Algorithm, kind: KeyKind) {
    assert_eq!(key.algorithm(), algorithm);
    assert_eq!(key.public().kind(), kind);
    assert_eq!(&PublicKey::from_pem(key.public().to_pem().as_bytes()).unwrap(), key.public());
    assert_eq!(&PublicKey::from_jwk(&key.jwk()).unwrap(), key.public());
    assert_eq!(key.jwk()["kid"], json!(key.thumbprint()));
    assert_eq!(key.jwk()["use"], "sig");
    assert_eq!(key.jwk()["alg"], algorithm.as_str());

    let header = JwsHeader { typ: Some("JWT"), jku: None };
    let token = key.sign(&header, &json!({"iss": "me"})).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = input.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!(header, json!({"alg": algorithm.as_str(), "typ": "JWT", "kid": key.thumbprint()}));
    assert_eq!(decode(claims), br#"{"iss":"me"}"#);
    let verifying = key.public().verifying_key(algorithm).unwrap();
    assert_eq!(verifying.verify(input.as_bytes(), &decode(signature)), Ok(()));
    assert_eq!(verifying.verify(b"something else", &decode(signature)), Err(SignatureInvalid));
}

#[test]
fn an_algorithm_never_takes_a_key_of_another_kind() {
    for algorithm in [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Es256, Algorithm::Es384] {
        for key in [
            PublicKey::from_jwk(&rsa_jwk(RFC7515_A2_N)).unwrap(),
            PublicKey::from_jwk(&rfc7515_a3()).unwrap(),
            SigningKey::from_pkcs8(&ec_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING), &[Algorithm::Es384])
                .unwrap()
                .public()
                .clone(),
        ] {
            assert_eq!(key.verifying_key(algorithm).is_ok(), algorithm.fits(key.kind()), "{algorithm} {key:?}");
        }
    }
    let wanted = &[Algorithm::Es256];
    assert_eq!(
        SigningKey::from_pkcs8(&ec_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING), wanted).unwrap_err(),
        KeyProblem::WrongKind { found: KeyKind::P384, wanted: WantedAlgorithms(wanted) }
    );
}

#[rstest]
#[case::not_an_object(json!("RSA"), KeyProblem::NotJson)]
#[case::no_type(json!({}), KeyProblem::MemberMissing { member: "kty" })]
#[case::symmetric(json!({"kty": "oct", "k": "c2VjcmV0"}), KeyProblem::PrivateJwk)]
#[case::private(json!({"kty": "RSA", "n": RFC7515_A2_N, "e": "AQAB", "d": "AQAB"}), KeyProblem::PrivateJwk)]
#[case::edwards(json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}), KeyProblem::Unsupported)]
#[case::no_exponent(json!({"kty": "RSA", "n": RFC7515_A2_N}), KeyProblem::MemberMissing { member: "e" })]
#[case::exponent_of_one(json!({"kty": "RSA", "n": RFC7515_A2_N, "e": "AQ"}), KeyProblem::Damaged)]
#[case::even_exponent(json!({"kty": "RSA", "n": RFC7515_A2_N, "e": "Ag"}), KeyProblem::Damaged)]
#[case::small(json!({"kty": "RSA", "n": "__________8", "e": "AQAB"}), KeyProblem::RsaSize { bits: 64 })]
#[case::zero(json!({"kty": "RSA", "n": "AAAA", "e": "AQAB"}), KeyProblem::RsaSize { bits: 0 })]
#[case::bad_base64(json!({"kty": "RSA", "n": "%", "e": "AQAB"}), KeyProblem::MemberInvalid { member: "n" })]
#[case::number(json!({"kty": "RSA", "n": 7, "e": "AQAB"}), KeyProblem::MemberMissing { member: "n" })]
#[case::other_curve(json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}), KeyProblem::Unsupported)]
#[case::short_coordinate(json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}), KeyProblem::MemberInvalid { member: "x" })]
#[case::off_the_curve(
    json!({"kty": "EC", "crv": "P-256", "x": rfc7515_a3()["x"], "y": rfc7515_a3()["x"]}),
    KeyProblem::Damaged
)]
fn a_jwk_that_is_no_usable_public_key_is_refused(#[case] jwk: Value, #[case] problem: KeyProblem) {
    assert_eq!(PublicKey::from_jwk(&jwk).unwrap_err(), problem);
}

#[test]
fn a_modulus_with_leading_zeros_is_the_same_key() {
    let mut padded = vec![0, 0];
    padded.extend(decode(RFC7638_N));
    let padded = PublicKey::from_jwk(&rsa_jwk(&URL_SAFE_NO_PAD.encode(padded))).unwrap();
    assert_eq!(padded, PublicKey::from_jwk(&rsa_jwk(RFC7638_N)).unwrap());
}

#[rstest]
#[case::nothing("", KeyProblem::NoPem { expected: "PRIVATE KEY" })]
#[case::prose("this is no key\n", KeyProblem::NoPem { expected: "PRIVATE KEY" })]
#[case::cut_off("-----BEGIN PRIVATE KEY-----\nMIIB\n", KeyProblem::DamagedPem)]
#[case::not_base64("-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n", KeyProblem::DamagedPem)]
#[case::other_end("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PUBLIC KEY-----\n", KeyProblem::DamagedPem)]
#[case::end_alone("-----END PRIVATE KEY-----\n", KeyProblem::DamagedPem)]
#[case::public("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n", KeyProblem::OtherBlock { expected: "PRIVATE KEY" })]
#[case::pkcs1("-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n", KeyProblem::OldForm { found: "RSA PRIVATE KEY" })]
#[case::sec1("-----BEGIN EC PRIVATE KEY-----\nMIIB\n-----END EC PRIVATE KEY-----\n", KeyProblem::OldForm { found: "EC PRIVATE KEY" })]
#[case::encrypted(
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    KeyProblem::Encrypted
)]
#[case::old_encrypted(
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\n-----END RSA PRIVATE KEY-----\n",
    KeyProblem::Encrypted
)]
#[case::two(
    "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
    KeyProblem::SeveralBlocks { expected: "PRIVATE KEY" }
)]
#[case::not_der("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", KeyProblem::Damaged)]
fn a_private_pem_that_cannot_be_used_says_why(#[case] text: &str, #[case] problem: KeyProblem) {
    assert_eq!(SigningKey::from_pem(text.as_bytes(), ParsedKeyPair::ALGORITHMS).unwrap_err(), problem);
}

#[test]
fn a_key_in_the_clothes_that_people_bring_is_read() {
    let private = private_pem(&ec_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING));
    let text = private.expose_str().unwrap();
    let windows = text.replace('\n', "\r\n");
    let bag = format!("Bag Attributes\n    friendlyName: x\nKey Attributes: <No Attributes>\n{text}");
    let with_parameters = format!("-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n{text}");
    let expected = SigningKey::from_pem(text.as_bytes(), ParsedKeyPair::ALGORITHMS).unwrap().thumbprint();
    for text in [windows, bag, with_parameters] {
        let key = SigningKey::from_pem(text.as_bytes(), ParsedKeyPair::ALGORITHMS).unwrap();
        assert_eq!(key.thumbprint(), expected);
    }
}

#[test]
fn a_private_key_of_a_kind_that_we_do_not_use_is_told_from_a_broken_one() {
    let p521 = ec_pkcs8(&ECDSA_P521_SHA512_FIXED_SIGNING);
    assert_eq!(SigningKey::from_pkcs8(&p521, ParsedKeyPair::ALGORITHMS).unwrap_err(), KeyProblem::Unsupported);

    let p256 = ec_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING);
    assert_eq!(
        SigningKey::from_pkcs8(&p256, ParsedKeyPair::ALGORITHMS).unwrap_err().to_string(),
        "is of kind P-256, which RS384 or ES384 cannot use"
    );

    // RFC 8410 §10.3.
    let ed25519 = STANDARD.decode("MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC").unwrap();
    assert_eq!(SigningKey::from_pkcs8(&ed25519, ParsedKeyPair::ALGORITHMS).unwrap_err(), KeyProblem::Unsupported);

    let mut trailing = ec_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING);
    trailing.push(0);
    assert_eq!(SigningKey::from_pkcs8(&trailing, ParsedKeyPair::ALGORITHMS).unwrap_err(), KeyProblem::Damaged);
}

#[test]
fn an_rsa_key_with_a_flipped_bit_is_refused() {
    let mut der = rsa_pkcs8();
    // In the middle of the private numbers: the envelope stays readable, the parts don't fit together any more.
    let middle = der.len() / 2;
    der[middle] ^= 1;
    assert_eq!(SigningKey::from_pkcs8(&der, ParsedKeyPair::ALGORITHMS).unwrap_err(), KeyProblem::Damaged);
}

#[test]
fn a_brought_pair_needs_only_its_private_half() {
    let mut data = p384_data();
    let whole = ParsedKeyPair::from_data(&data).unwrap();
    data.retain(|name, _| name == file::PRIVATE_PEM);
    let brought = ParsedKeyPair::from_data(&data).unwrap();
    assert_eq!(brought.public(), whole.public());
    assert_eq!(brought.algorithm(), Algorithm::Es384);
    assert_eq!(brought.certificate(), None);
    assert_eq!(ParsedKeyPair::from_whole_data(&data).unwrap_err(), KeyProblem::Missing.in_file(file::PUBLIC_PEM));
}

#[rstest]
#[case(file::PUBLIC_PEM)]
#[case(file::JWK_JSON)]
fn a_pair_whose_halves_are_of_two_keys_is_refused(#[case] file: &'static str) {
    let mut data = p384_data();
    data.insert(file.to_owned(), p384_data()[file].clone());
    assert_eq!(ParsedKeyPair::from_data(&data).unwrap_err(), KeyProblem::OtherKey.in_file(file));
}

#[rstest]
#[case("kid", "another")]
#[case("alg", "ES256")]
#[case("use", "enc")]
fn a_jwk_file_that_says_something_else_of_the_key_is_refused(#[case] member: &'static str, #[case] value: &str) {
    let mut data = p384_data();
    let mut jwk: Value = serde_json::from_slice(data[file::JWK_JSON].expose()).unwrap();
    jwk[member] = json!(value);
    data.insert(file::JWK_JSON.to_owned(), jwk.to_string().into());
    assert_eq!(ParsedKeyPair::from_data(&data).unwrap_err(), KeyProblem::JwkDiffers { member }.in_file(file::JWK_JSON));
}

#[test]
fn errors_and_debug_name_the_file_and_show_no_content() {
    let mut data = p384_data();
    let secret = data[file::PRIVATE_PEM].expose_str().unwrap().lines().nth(1).unwrap().to_owned();
    let pair = ParsedKeyPair::from_data(&data).unwrap();
    assert!(!format!("{pair:?} {data:?}").contains(&secret));

    data.insert(file::PRIVATE_PEM.to_owned(), format!("-----BEGIN PRIVATE KEY-----\n{secret}\n").into());
    let error = ParsedKeyPair::from_data(&data).unwrap_err();
    assert_eq!(error.to_string(), "private.pem holds a damaged PEM block; copy the file again, unchanged");
    assert!(!format!("{error:?}").contains(&secret));
}

#[test]
fn a_gateway_needs_its_three_files_and_each_in_its_own_place() {
    let es256 = private_pem(&ec_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING));
    let rs256 = private_pem(&rsa_pkcs8());
    let whole = BTreeMap::from([
        (file::ES256_PRIVATE_PEM.to_owned(), es256.clone()),
        (file::RS256_PRIVATE_PEM.to_owned(), rs256.clone()),
        (file::SEALING_KEY.to_owned(), SecretBytes::from(format!("{}\n", STANDARD.encode([7; 32])))),
    ]);
    let keys = GatewayKeys::from_data(&whole).unwrap();
    assert_eq!(keys.sealing.expose(), [7; 32]);
    assert_eq!(keys.jwks().map(|jwk| jwk["alg"].clone()), [json!("ES256"), json!("RS256")]);
    assert!(format!("{keys:?}").contains("SealingKey([redacted])"));

    for file in file::OF_A_GATEWAY {
        let mut data = whole.clone();
        data.remove(file);
        assert_eq!(GatewayKeys::from_data(&data).unwrap_err(), KeyProblem::Missing.in_file(file));
    }
    let mut swapped = whole.clone();
    swapped.insert(file::ES256_PRIVATE_PEM.to_owned(), rs256);
    assert_eq!(
        GatewayKeys::from_data(&swapped).unwrap_err().to_string(),
        "es256-private.pem is of kind RSA 2048, which ES256 cannot use"
    );
    for length in [0, 31, 33, 64] {
        let mut data = whole.clone();
        data.insert(file::SEALING_KEY.to_owned(), STANDARD.encode(vec![7; length]).into());
        assert_eq!(
            GatewayKeys::from_data(&data).unwrap_err(),
            KeyProblem::SealingKey.in_file(file::SEALING_KEY),
            "{length}"
        );
    }
}

#[test]
fn a_pair_that_we_made_is_adopted_again() {
    let pair = ParsedKeyPair::from_data(&p384_data()).unwrap();
    let identity = p384_identity();
    assert_eq!(identity.secret_name(), "schedule-key-1");
    assert_eq!(identity.may_adopt(&identity.annotations(), &pair), Ok(()));
}

#[rstest]
#[case(annotation::APP, "schedule-sync")]
#[case(annotation::KEY_PAIR, "schedule")]
#[case(annotation::REVISION, "1")]
#[case(annotation::ALGORITHM, "ES384")]
fn a_pair_that_is_marked_for_another_or_not_at_all_is_not_adopted(
    #[case] annotation: &'static str,
    #[case] wanted: &str,
) {
    let pair = ParsedKeyPair::from_data(&p384_data()).unwrap();
    let mut annotations = p384_identity().annotations();
    annotations.insert(annotation.to_owned(), "another".to_owned());
    assert_eq!(
        p384_identity().may_adopt(&annotations, &pair),
        Err(NotOurs::MarkedForAnother { annotation, found: "another".into(), wanted: wanted.into() })
    );
    annotations.remove(annotation);
    assert_eq!(
        p384_identity().may_adopt(&annotations, &pair),
        Err(NotOurs::Unmarked { annotation, wanted: wanted.into() })
    );
}

#[test]
fn a_pair_of_another_size_than_its_annotations_claim_is_not_adopted() {
    let data = BTreeMap::from([(file::PRIVATE_PEM.to_owned(), private_pem(&rsa_pkcs8()))]);
    let pair = ParsedKeyPair::from_data(&data).unwrap();
    let identity = PairIdentity { kind: PairKind::Rsa3072, ..p384_identity() };
    assert_eq!(
        identity.may_adopt(&identity.annotations(), &pair).unwrap_err().to_string(),
        "holds a key of kind RSA 2048, and not RSA 3072"
    );
}

#[test]
fn gateway_keys_are_adopted_by_their_gateway_alone() {
    let identity = GatewayIdentity { gateway: "north".into(), revision: 2 };
    assert_eq!(identity.secret_name(), "north-signing-2");
    assert_eq!(identity.may_adopt(&identity.annotations()), Ok(()));
    let other = GatewayIdentity { gateway: "south".into(), revision: 2 };
    assert_eq!(
        other.may_adopt(&identity.annotations()),
        Err(NotOurs::MarkedForAnother {
            annotation: annotation::GATEWAY,
            found: "north".into(),
            wanted: "south".into()
        })
    );
}

#[test]
fn no_activation_can_name_a_gateways_signing_keys() {
    assert_ne!(PairIdentity::labels()[label::USE], GatewayIdentity::labels()[label::USE]);
    assert!(file::OF_A_GATEWAY.iter().all(|file| !file::OF_A_PAIR.contains(file)));
}

#[test]
fn only_what_ehrs_are_offered_is_a_pair_kind() {
    for kind in PairKind::ALL {
        let bits = u32::try_from(kind.rsa_bits().unwrap_or_default()).unwrap();
        assert_eq!(PairKind::of(kind.algorithm(), bits), Some(kind));
        assert!(kind.algorithm().fits(kind.key_kind()));
    }
    assert_eq!(PairKind::of(Algorithm::Rs384, 1024), None);
    assert_eq!(PairKind::of(Algorithm::Rs256, 2048), None);
    assert_eq!(PairKind::of(Algorithm::Es256, 2048), None);
}

#[test]
fn algorithms_are_spelled_as_in_rfc_7518_and_none_is_none() {
    for algorithm in [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Es256, Algorithm::Es384] {
        assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        assert_eq!(serde_json::to_value(algorithm).unwrap(), json!(algorithm.as_str()));
    }
    for other in ["none", "HS256", "rs384", "PS384", "RS512", ""] {
        assert_eq!(other.parse::<Algorithm>(), Err(AlgorithmUnknown));
    }
}

proptest! {
    #[test]
    fn pem_comes_back_as_it_went(der in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = pem::encode(pem::CERTIFICATE, &der);
        prop_assert!(text.lines().all(|line| line.len() <= 64));
        prop_assert_eq!(&**pem::only_block(text.as_bytes(), pem::CERTIFICATE).unwrap(), &der);
    }

    #[test]
    fn no_bytes_make_the_readers_panic(content in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = pem::only_block(&content, pem::PRIVATE_KEY);
        let _ = SigningKey::from_pkcs8(&content, ParsedKeyPair::ALGORITHMS);
        let _ = PublicKey::from_spki(&content);
        let _ = Certificate::from_pem(pem::encode(pem::CERTIFICATE, &content).as_bytes());
    }

    #[test]
    fn a_key_with_any_byte_changed_is_refused_or_its_halves_still_fit(position in 0_usize..185, change in 1_u8..) {
        let der = ec_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING);
        let mut changed = der;
        if let Some(byte) = changed.get_mut(position) {
            *byte ^= change;
        }
        if let Ok(after) = SigningKey::from_pkcs8(&changed, ParsedKeyPair::ALGORITHMS) {
            let signature = after.sign_bytes(b"message").unwrap();
            let verifying = after.public().verifying_key(Algorithm::Es384).unwrap();
            prop_assert_eq!(verifying.verify(b"message", &signature), Ok(()));
        }
    }
}
