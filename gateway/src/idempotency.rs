//! The id to create a user with: the same for the same `Idempotency-Key`.

use uuid::{Uuid, uuid};
use warp::http::{HeaderMap, HeaderName, HeaderValue};

use crate::limits::{MAX_IDEMPOTENCY_KEY_BYTES, is_visible_ascii};
use crate::problem::Problem;

/// Turns an `Idempotency-Key` into the id of the user it creates (UUIDv5, RFC 9562 section 5.5).
/// Never change it: keys in use would forget their users.
const KEY_NAMESPACE: Uuid = uuid!("6c1c4a5e-6f0b-4f0e-9f6b-3b1f3c5f1d0a");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The id that the `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) stands for; without
/// a key, a fresh one.
pub fn user_id(headers: &HeaderMap) -> Result<Uuid, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (keys.next().map(HeaderValue::as_bytes), keys.next()) {
        (None, _) => Ok(Uuid::now_v7()),
        (Some(key), None) if is_visible_ascii(key, MAX_IDEMPOTENCY_KEY_BYTES) => {
            Ok(Uuid::new_v5(&KEY_NAMESPACE, key))
        }
        _ => Err(Problem::bad_idempotency_key()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(keys: &[&str]) -> Result<Uuid, Problem> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(key).unwrap());
        }
        user_id(&headers)
    }

    #[test]
    fn key_always_means_the_same_id() {
        let id = id_of(&["order-17"]).unwrap();
        assert_eq!(id.to_string(), "c7a92e7f-7564-5959-91bf-82658f8cf7f4");
        assert_ne!(id, id_of(&["order-18"]).unwrap());
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
