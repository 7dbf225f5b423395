//! The id to create a user with: the same for the same `Idempotency-Key` of the same principal.

use uuid::{Uuid, uuid};
use warp::http::{HeaderMap, HeaderName, HeaderValue};

use crate::auth::principal::Principal;
use crate::limits::{MAX_IDEMPOTENCY_KEY_BYTES, is_visible_ascii};
use crate::problem::Problem;

/// Turns an `Idempotency-Key` of an anonymous client into the id of the user it creates (UUIDv5, RFC 9562 section 5.5).
/// Never change it: keys in use would forget their users.
const KEY_NAMESPACE: Uuid = uuid!("6c1c4a5e-6f0b-4f0e-9f6b-3b1f3c5f1d0a");
/// Turns the name of a principal into the namespace of its keys. Never change it, either.
const PRINCIPAL_NAMESPACE: Uuid = uuid!("8f2c60ec-104c-4de3-a263-45009da8d6b2");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The id that the `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) stands for; without
/// a key, a fresh one.
///
/// Each principal has its keys for itself: another one can neither use up a key nor find out that it was used.
/// A new API key of the same name changes nothing.
pub fn user_id(headers: &HeaderMap, principal: Option<&Principal>) -> Result<Uuid, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (keys.next().map(HeaderValue::as_bytes), keys.next()) {
        (None, _) => Ok(Uuid::now_v7()),
        (Some(key), None) if is_visible_ascii(key, MAX_IDEMPOTENCY_KEY_BYTES) => {
            let namespace = principal.map_or(KEY_NAMESPACE, |principal| {
                Uuid::new_v5(&PRINCIPAL_NAMESPACE, principal.name.as_str().as_bytes())
            });
            Ok(Uuid::new_v5(&namespace, key))
        }
        _ => Err(Problem::bad_idempotency_key()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(keys: &[&str]) -> Result<Uuid, Problem> {
        id_for(None, keys)
    }

    fn id_for(principal: Option<&str>, keys: &[&str]) -> Result<Uuid, Problem> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(key).unwrap());
        }
        let principal = principal.map(|name| Principal {
            name: name.parse().unwrap(),
            scopes: "create".parse().unwrap(),
        });
        user_id(&headers, principal.as_ref())
    }

    #[test]
    fn key_always_means_the_same_id() {
        let id = id_of(&["order-17"]).unwrap();
        assert_eq!(id.to_string(), "c7a92e7f-7564-5959-91bf-82658f8cf7f4");
        assert_ne!(id, id_of(&["order-18"]).unwrap());
    }

    #[test]
    fn key_means_another_id_for_each_principal_and_always_the_same() {
        for (principal, id) in [
            (Some("billing"), "0d86c1cc-76b4-5f59-b3a0-64552901b3ff"),
            (Some("shop"), "1ca1e076-dfa7-5f8c-bcb2-65ef8b6c0a1a"),
            // Who is called like a key of the anonymous client.
            (Some("order-17"), "2efb3824-859f-515c-8969-f5a6d5ce9e17"),
        ] {
            let id_for_it = id_for(principal, &["order-17"]).unwrap();
            assert_eq!(id_for_it.to_string(), id, "{principal:?}");
        }
        assert_ne!(
            id_for(Some("billing"), &[]).unwrap(),
            id_for(Some("billing"), &[]).unwrap()
        );
    }

    #[test]
    fn id_is_fresh_without_a_key() {
        assert_ne!(id_of(&[]).unwrap(), id_of(&[]).unwrap());
    }

    #[test]
    fn key_outside_the_limits_is_refused() {
        assert!(id_of(&[&"k".repeat(255)]).is_ok());
        let long = "k".repeat(256);
        for keys in [&[""][..], &[&long], &["a b"], &["ключ"], &["a", "a"]] {
            assert!(id_of(keys).is_err(), "{keys:?}");
        }
    }
}
