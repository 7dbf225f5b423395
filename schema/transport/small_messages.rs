//! The network of a caller, whose messages begin small: for each call, capnp-rpc 0.27 reserves 8 KiB, sets them to
//! zero, and uses some hundred bytes.

use capnp::Error;
use capnp::capability::Promise;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Connection, IncomingMessage, OutgoingMessage, VatNetwork};
use futures::TryFutureExt as _;

/// Words of the first segment of a message: enough for nearly every `createUser`. Further segments grow.
const FIRST_SEGMENT: u32 = 192;

/// Wraps the network that an RPC system uses.
pub struct SmallMessages<N>(pub N);

impl<N: VatNetwork<Side>> VatNetwork<Side> for SmallMessages<N> {
    fn connect(&mut self, side: Side) -> Option<Box<dyn Connection<Side>>> {
        self.0.connect(side).map(begin_small)
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        Promise::from_future(self.0.accept().map_ok(begin_small))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        self.0.drive_until_shutdown()
    }
}

fn begin_small(connection: Box<dyn Connection<Side>>) -> Box<dyn Connection<Side>> {
    Box::new(SmallMessagesConnection(connection))
}

struct SmallMessagesConnection(Box<dyn Connection<Side>>);

impl Connection<Side> for SmallMessagesConnection {
    fn get_peer_vat_id(&self) -> Side {
        self.0.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn OutgoingMessage> {
        let words = first_segment_words.min(FIRST_SEGMENT);
        self.0.new_outgoing_message(words)
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        self.0.receive_incoming_message()
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        self.0.shutdown(result)
    }
}
