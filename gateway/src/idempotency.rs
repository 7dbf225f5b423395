//! The `Idempotency-Key` of a request, and the id it stands for.

use uuid::{Uuid, uuid};
use warp::http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::Problem;

/// Turns an `Idempotency-Key` into the id of the user it creates (UUIDv5, RFC 9562 section 5.5).
/// Never change it: keys in use would forget their users.
const KEY_NAMESPACE: Uuid = uuid!("6c1c4a5e-6f0b-4f0e-9f6b-3b1f3c5f1d0a");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The id to create with: the same for the same `Idempotency-Key`
/// (draft-ietf-httpapi-idempotency-key-header), a fresh one without.
pub fn user_id(headers: &HeaderMap) -> Result<Uuid, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (keys.next().map(HeaderValue::as_bytes), keys.next()) {
        (None, _) => Ok(Uuid::now_v7()),
        (Some(key), None)
            if (1..=255).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic) =>
        {
            Ok(Uuid::new_v5(&KEY_NAMESPACE, key))
        }
        _ => Err(Problem::bad_idempotency_key()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_keys(keys: &[&str]) -> Result<Uuid, Problem> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(key).unwrap());
        }
        user_id(&headers)
    }

    #[test]
    fn a_key_always_means_the_same_id() {
        let id = with_keys(&["order-17"]).unwrap();
        assert_eq!(id.to_string(), "c7a92e7f-7564-5959-91bf-82658f8cf7f4");
        assert_ne!(id, with_keys(&["order-18"]).unwrap());
    }

    #[test]
    fn without_a_key_every_id_is_fresh() {
        assert_ne!(with_keys(&[]).unwrap(), with_keys(&[]).unwrap());
    }

    #[test]
    fn keys_outside_the_limits_are_refused() {
        assert!(with_keys(&[&"k".repeat(255)]).is_ok());
        let long = "k".repeat(256);
        for keys in [&[""][..], &[&long], &["a b"], &["ключ"], &["a", "a"]] {
            assert!(with_keys(keys).is_err(), "{keys:?}");
        }
    }
}
