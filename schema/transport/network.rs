//! The two-party network of a service, in which every message passes the guard of its peer.

use std::rc::Rc;

use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator};
use capnp::{Error, any_pointer};
use capnp_rpc::rpc_capnp::{
    call::send_results_to, cap_descriptor, message, message_target, return_,
};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Connection, IncomingMessage, OutgoingMessage, VatNetwork};
use futures::TryFutureExt as _;

use super::options::MAX_TRANSFORM;
use super::peer_guard::PeerGuard;

/// What capnp-rpc takes for the network.
pub struct GuardedNetwork<N> {
    pub network: N,
    pub guard: Rc<PeerGuard>,
}

impl<N: VatNetwork<Side>> VatNetwork<Side> for GuardedNetwork<N> {
    fn connect(&mut self, side: Side) -> Option<Box<dyn Connection<Side>>> {
        self.network.connect(side)
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        let guard = self.guard.clone();
        let accepted = self.network.accept();
        Promise::from_future(accepted.map_ok(|connection| {
            Box::new(GuardedConnection { connection, guard }) as Box<dyn Connection<Side>>
        }))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        self.network.drive_until_shutdown()
    }
}

struct GuardedConnection {
    connection: Box<dyn Connection<Side>>,
    guard: Rc<PeerGuard>,
}

impl Connection<Side> for GuardedConnection {
    fn get_peer_vat_id(&self) -> Side {
        self.connection.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn OutgoingMessage> {
        Box::new(GuardedMessage {
            message: self.connection.new_outgoing_message(first_segment_words),
            guard: self.guard.clone(),
        })
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        let guard = self.guard.clone();
        let received = self.connection.receive_incoming_message();
        Promise::from_future(async move {
            guard.room().await?;
            let received = received.await?;
            if let Some(message) = &received {
                let size = guard.incoming.end_message();
                admit(&guard, message.get_body()?.get_as()?, size)?;
            }
            Ok(received)
        })
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        self.connection.shutdown(result)
    }
}

/// Takes note of a message, and refuses what no caller of a service has a use for: capabilities of its own,
/// answers, and answers that are to stay with the service.
fn admit(guard: &PeerGuard, message: message::Reader, size: usize) -> capnp::Result<()> {
    match message.which() {
        Ok(message::Bootstrap(bootstrap)) => {
            guard.on_question(bootstrap?.get_question_id(), size, None)
        }
        Ok(message::Call(call)) => {
            let call = call?;
            let target = match call.get_target()?.which()? {
                message_target::ImportedCap(_) => None,
                message_target::PromisedAnswer(answer) => {
                    let answer = answer?;
                    if answer.get_transform()?.len() > MAX_TRANSFORM {
                        return Err(Error::failed("a call's target is too deep".into()));
                    }
                    Some(answer.get_question_id())
                }
            };

            let results_to = call.get_send_results_to().which()?;
            if !matches!(results_to, send_results_to::Caller(()))
                || !call.get_params()?.get_cap_table()?.is_empty()
            {
                return Err(Error::failed(
                    "a call passes capabilities or keeps results".into(),
                ));
            }
            guard.on_question(call.get_question_id(), size, target)
        }

        Ok(message::Finish(finish)) => {
            let finish = finish?;
            guard.on_finish(finish.get_question_id(), finish.get_release_result_caps());
            Ok(())
        }
        Ok(message::Release(release)) => {
            let release = release?;
            guard.on_release(release.get_id(), release.get_reference_count());
            Ok(())
        }
        // capnp-rpc answers what is not in the protocol yet, so that newer peers adapt.
        Ok(message::Abort(_)) | Err(_) => Ok(()),
        Ok(_) => Err(Error::failed(
            "a message that no caller has a use for".into(),
        )),
    }
}

/// The capabilities of ours in an answer.
fn exports(answer: return_::Reader) -> capnp::Result<Vec<u32>> {
    let return_::Results(payload) = answer.which()? else {
        return Ok(Vec::new());
    };
    let capabilities = payload?.get_cap_table()?.iter();
    Ok(capabilities
        .filter_map(|capability| match capability.which() {
            Ok(cap_descriptor::SenderHosted(id) | cap_descriptor::SenderPromise(id)) => Some(id),
            _ => None,
        })
        .collect())
}

struct GuardedMessage {
    message: Box<dyn OutgoingMessage>,
    guard: Rc<PeerGuard>,
}

impl OutgoingMessage for GuardedMessage {
    fn get_body(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        self.message.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.message.get_body_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), Error>, Rc<Builder<HeapAllocator>>) {
        let body = self.message.get_body_as_reader();
        if let Ok(Ok(message::Return(Ok(answer)))) = body
            .and_then(|body| body.get_as::<message::Reader>())
            .map(message::Reader::which)
        {
            let size = self.message.size_in_words() * 8;
            let is_finish_needed = !answer.get_no_finish_needed();
            // Only an answer without capabilities needs none.
            let exports = if is_finish_needed {
                exports(answer).unwrap_or_default()
            } else {
                Vec::new()
            };
            self.guard
                .on_answer(answer.get_answer_id(), size, is_finish_needed, exports);
        }
        self.message.send()
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.message.take()
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}
