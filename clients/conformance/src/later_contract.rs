//! What a service of a later version may answer: a union with a member that this contract lacks.

use capnp::introspect::{Introspect, TypeVariant};
use capnp::message::{ReaderOptions, TypedBuilder, TypedReader};
use capnp::schema::StructSchema;
use capnp::schema_capnp::node;
use capnp::serialize::{self, OwnedSegments};
use capnp::{Error, traits::Owned};

/// Bytes of a message before its root: how long it is, and the pointer to the root.
const BEFORE_ROOT: usize = 16;

/// A struct whose union has the member that would come next, without a value.
pub fn later_member<T: Owned + Introspect>() -> Result<TypedReader<OwnedSegments, T>, Error> {
    let mut message = TypedBuilder::<T>::new_default();
    message.init_root();
    let mut bytes = serialize::write_message_to_words(message.borrow_inner());

    let TypeVariant::Struct(schema) = T::introspect().which() else {
        return Err(Error::failed("only structs have unions".into()));
    };
    let node::Struct(layout) = StructSchema::new(schema).get_proto().which()? else {
        return Err(Error::failed("a struct has another schema".into()));
    };
    // No code that is generated from this contract can set it.
    let at = BEFORE_ROOT + 2 * layout.get_discriminant_offset() as usize;
    bytes[at..at + 2].copy_from_slice(&layout.get_discriminant_count().to_le_bytes());
    Ok(serialize::read_message(&*bytes, ReaderOptions::new())?.into_typed())
}

#[cfg(test)]
mod tests {
    use capnp::NotInSchema;
    use users_rpc::users_capnp::{
        create_user_response, create_users_response, create_users_result,
    };

    use super::*;

    #[test]
    fn member_is_the_first_that_this_contract_lacks() {
        let outcome = later_member::<create_user_response::Owned>().unwrap();
        let response = later_member::<create_users_response::Owned>().unwrap();
        let result = later_member::<create_users_result::Owned>().unwrap();

        let of_outcome = outcome.get().unwrap().which().err();
        let of_response = response.get().unwrap().which().err();
        let of_result = result.get().unwrap().which().err();

        assert_eq!(of_outcome, Some(NotInSchema(4)));
        assert_eq!(of_response, Some(NotInSchema(2)));
        assert_eq!(of_result, Some(NotInSchema(3)));
    }
}
