use std::time::Duration;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;
use crate::record::Scope;

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer with its private keys.
struct Office {
    edwards: Ed25519KeyPair,
    curve: EcdsaKeyPair,
    rng: SystemRandom,
}

impl Office {
    fn open() -> Self {
        let rng = SystemRandom::new();
        let edwards = Ed25519KeyPair::generate_pkcs8(&rng).unwrap();
        let curve = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        Self {
            edwards: Ed25519KeyPair::from_pkcs8(edwards.as_ref()).unwrap(),
            curve: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, curve.as_ref(), &rng).unwrap(),
            rng,
        }
    }

    fn set(&self) -> Value {
        let point = self.curve.public_key().as_ref();
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "x": b64(self.edwards.public_key())},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": b64(&point[1..33]), "y": b64(&point[33..])},
            // Passed over, all of them.
            {"kty": "OKP", "crv": "Ed25519", "kid": "enc", "use": "enc", "x": b64(self.edwards.public_key())},
            {"kty": "oct", "kid": "shared", "k": b64("secret")},
            {"kty": "RSA", "kid": "short", "n": b64([0xff; 128]), "e": "AQAB"},
            {"kty": "EC", "crv": "P-256", "kid": "cut", "x": b64([1; 31]), "y": b64([1; 32])},
            "no key",
        ]})
    }

    fn issuer(&self) -> Issuer {
        let issuer = Issuer::new(JwtTerms {
            issuer: "https://id.example.com/".into(),
            audience: "cresset".into(),
            tenant_claim: "org".into(),
        });
        issuer.set_keys(Jwks::parse(self.set().to_string().as_bytes()).unwrap());
        issuer
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let by = match header["alg"].as_str() {
            Some("ES256") => b64(self.curve.sign(&self.rng, signed.as_bytes()).unwrap()),
            _ => b64(self.edwards.sign(signed.as_bytes())),
        };
        format!("{signed}.{by}")
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = good();
        change(&mut claims);
        self.sign(&json!({"alg": "EdDSA", "kid": "ed", "typ": "JWT"}), &claims)
    }
}

fn good() -> Value {
    json!({
        "iss": "https://id.example.com/", "aud": ["other", "cresset"], "sub": "ada", "org": "acme",
        "exp": NOW + 300, "nbf": NOW - 10, "scope": "openid cresset:submit cresset:read cresset:fly",
    })
}

#[test]
fn a_token_of_the_issuer_opens_as_a_key_would() {
    let office = Office::open();
    let issuer = office.issuer();
    for (alg, kid) in [
        ("EdDSA", Some("ed")),
        ("ES256", Some("ec")),
        ("ES256", None),
        ("EdDSA", None),
    ] {
        let mut header = json!({"alg": alg, "typ": "at+jwt"});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        let key = issuer.find(&office.sign(&header, &good()), at(NOW)).unwrap();
        assert_eq!(key.record.tenant.as_str(), "acme");
        assert_eq!(key.record.name, "ada");
        assert_eq!(key.record.scopes.0, [Scope::Submit, Scope::Read]);
        assert_eq!(key.record.expires_at, Some(at(NOW + 300)));
        assert!(key.record.allows_model("any"));
        assert!(key.take(Duration::ZERO).is_ok());
    }
    assert!(!issuer.wants_keys());
}

#[test]
fn one_bearer_is_one_client_and_another_is_another() {
    let office = Office::open();
    let issuer = office.issuer();
    let id = |sub: &str| {
        let token = office.token(|claims| claims["sub"] = sub.into());
        issuer.find(&token, at(NOW)).unwrap().record.id
    };
    assert_eq!(id("ada"), id("ada"));
    assert_ne!(id("ada"), id("bob"));
}

#[test]
fn what_cannot_be_a_tenants_name_is_one_all_the_same_and_always_the_same() {
    let office = Office::open();
    let issuer = office.issuer();
    let tenant = |org: &str| {
        let token = office.token(|claims| claims["org"] = org.into());
        issuer.find(&token, at(NOW)).unwrap().record.tenant.to_string()
    };
    assert_eq!(tenant("acme-2"), "acme-2");
    let odd = tenant("auth0|Ada");
    assert!(odd.starts_with("jwt-") && odd.len() == 36, "{odd}");
    assert_eq!(odd, tenant("auth0|Ada"));
    assert_ne!(odd, tenant("auth0|ada"));
}

#[test]
fn models_are_bounded_by_a_claim_and_scopes_are_read_in_both_forms() {
    let office = Office::open();
    let issuer = office.issuer();
    let token = office.token(|claims| {
        claims["cresset_models"] = json!(["digits"]);
        claims["scp"] = json!(["cresset:admin"]);
        claims.as_object_mut().unwrap().remove("scope");
    });
    let key = issuer.find(&token, at(NOW)).unwrap();
    assert!(key.record.allows_model("digits") && !key.record.allows_model("embed"));
    assert_eq!(key.record.scopes.0, [Scope::Admin]);
    let none = office.token(|claims| claims["scope"] = "openid".into());
    assert!(issuer.find(&none, at(NOW)).unwrap().record.scopes.0.is_empty());
}

#[test]
fn what_the_issuer_did_not_sign_opens_nothing() {
    let office = Office::open();
    let issuer = office.issuer();
    let header = json!({"alg": "EdDSA", "kid": "ed"});
    let stranger = Office::open().sign(&header, &good());
    assert_eq!(
        issuer.find(&stranger, at(NOW)).unwrap_err(),
        JwtRefused::Signature
    );

    let token = office.token(|_| {});
    let parts: Vec<_> = token.split('.').collect();
    let mut claims = good();
    claims["org"] = "theirs".into();
    let changed = format!("{}.{}.{}", parts[0], b64(claims.to_string()), parts[2]);
    assert_eq!(issuer.find(&changed, at(NOW)).unwrap_err(), JwtRefused::Signature);
    let unsigned = format!("{}.{}.", parts[0], parts[1]);
    assert_eq!(
        issuer.find(&unsigned, at(NOW)).unwrap_err(),
        JwtRefused::Signature
    );

    for alg in ["none", "None", "HS256", "", "ES256K"] {
        let token = office.sign(&json!({"alg": alg, "kid": "ed"}), &good());
        let refused = issuer.find(&token, at(NOW)).unwrap_err();
        assert_eq!(refused, JwtRefused::Algorithm(alg.into()));
    }
    assert!(!issuer.wants_keys());
    // The key decides what checks a token, not the token.
    for (alg, kid) in [
        ("ES256", "ed"),
        ("EdDSA", "ec"),
        ("EdDSA", "enc"),
        ("RS256", "short"),
        ("EdDSA", "new"),
    ] {
        let token = office.sign(&json!({"alg": alg, "kid": kid}), &good());
        let refused = issuer.find(&token, at(NOW)).unwrap_err();
        assert!(
            matches!(refused, JwtRefused::UnknownKey(_)),
            "{alg} {kid}: {refused}"
        );
        assert!(issuer.wants_keys() && !issuer.wants_keys(), "{kid} may be new");
    }
}

#[test]
fn every_term_is_held_to_and_named() {
    let office = Office::open();
    let issuer = office.issuer();
    let refused = |change: &dyn Fn(&mut Value)| {
        let token = office.token(|claims| change(claims));
        issuer.find(&token, at(NOW)).unwrap_err()
    };
    let without = |name: &'static str| {
        let refused = refused(&|claims| drop(claims.as_object_mut().unwrap().remove(name)));
        assert_eq!(refused, JwtRefused::Claim(name.into(), "is not there"));
    };
    for name in ["iss", "aud", "exp", "sub", "org"] {
        without(name);
    }
    assert!(matches!(
        refused(&|claims| claims["iss"] = "https://id.example.com".into()),
        JwtRefused::Issuer { .. }
    ));
    assert!(matches!(
        refused(&|claims| claims["aud"] = "cresset2".into()),
        JwtRefused::Audience { .. }
    ));
    assert_eq!(
        refused(&|claims| claims["exp"] = (NOW - 60).into()),
        JwtRefused::Expired(at(NOW - 60))
    );
    assert_eq!(
        refused(&|claims| claims["nbf"] = (NOW + 61).into()),
        JwtRefused::Early(at(NOW + 61))
    );
    for wrong in [json!("soon"), json!(1e300), json!(null), json!([1])] {
        let refused = refused(&|claims| claims["exp"] = wrong.clone());
        assert!(matches!(refused, JwtRefused::Claim(..)), "{wrong}: {refused}");
    }
    for (name, wrong) in [
        ("sub", json!("")),
        ("org", json!(7)),
        ("aud", json!([1])),
        ("scope", json!({})),
        ("cresset_models", json!(["../x"])),
    ] {
        let refused = refused(&|claims| claims[name] = wrong.clone());
        assert!(
            matches!(refused, JwtRefused::Claim(of, _) if of == name),
            "{name}"
        );
    }
    // Clocks differ a little.
    let late = office.token(|claims| claims["exp"] = json!(NOW as f64 - 59.5));
    assert!(issuer.find(&late, at(NOW)).is_ok());
}

#[test]
fn what_is_no_token_is_said_to_be_none() {
    let office = Office::open();
    let issuer = office.issuer();
    let signed = |header: &str, claims: &str| {
        let text = format!("{}.{}", b64(header), b64(claims));
        format!("{text}.{}", b64(office.edwards.sign(text.as_bytes())))
    };
    let crit = r#"{"alg":"EdDSA","kid":"ed","crit":["exp"]}"#;
    let twice = r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#;
    let plain = r#"{"alg":"EdDSA","kid":"ed"}"#;
    for token in [
        String::new(),
        "..".into(),
        "a.b".into(),
        "a.b.c.d".into(),
        "!.!.!".into(),
        signed("{}", "{}"),
        signed("[]", "{}"),
        signed(crit, "{}"),
        signed(twice, "{}"),
        signed(r#"{"alg":"EdDSA","kid":"ed","typ":"dpop+jwt"}"#, "{}"),
        signed(plain, "[]"),
        signed(plain, "\u{0}"),
        signed(plain, &"x".repeat(JWT_BYTES_MAX)),
    ] {
        let refused = issuer.find(&token, at(NOW)).unwrap_err();
        assert!(matches!(refused, JwtRefused::Malformed(_)), "{token}: {refused}");
    }
    assert!(Issuer::is_meant("a.b.c") && !Issuer::is_meant("crs_0_0") && !Issuer::is_meant("a.b"));
}

#[test]
fn before_the_keys_are_known_nothing_is_said_of_a_token() {
    let office = Office::open();
    let issuer = Issuer::new(office.issuer().terms);
    let token = office.token(|_| {});
    assert_eq!(issuer.find(&token, at(NOW)).unwrap_err(), JwtRefused::NoKeysYet);
    assert!(issuer.wants_keys());
}

#[test]
fn a_set_that_checks_nothing_is_refused_with_the_reason() {
    assert!(matches!(Jwks::parse(b"{"), Err(JwksError::Form(_))));
    assert!(matches!(Jwks::parse(b"[]"), Err(JwksError::Form(_))));
    assert_eq!(Jwks::parse(br#"{"keys":[]}"#), Err(JwksError::Empty(0)));
    let shared = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string();
    assert_eq!(Jwks::parse(shared.as_bytes()), Err(JwksError::Empty(1)));
    let many = json!({"keys": vec![json!({}); 101]}).to_string();
    assert_eq!(Jwks::parse(many.as_bytes()), Err(JwksError::Large));
    assert_eq!(
        Jwks::parse(&vec![b' '; JWKS_BYTES_MAX + 1]),
        Err(JwksError::Large)
    );
    assert_eq!(
        Jwks::parse(Office::open().set().to_string().as_bytes())
            .unwrap()
            .count(),
        2
    );
}
