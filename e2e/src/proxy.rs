//! A TCP proxy that does to a link what networks do: cut, delay, slice, swallow.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the link does with what passes through it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Holds each piece back.
    Delay(Duration),
    /// Passes a few bytes at a time.
    Slice,
    /// Takes everything and passes nothing on; what was taken arrives when the fault ends.
    BlackHole,
    /// Passes requests, swallows the answers.
    SwallowAnswers,
}

/// A server that accepts connections and never says anything.
pub fn silent_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().collect::<Result<Vec<TcpStream>, _>>());
    addr
}

/// A proxy on a port of its own. Its threads end with the process.
#[derive(Clone)]
pub struct Proxy {
    pub addr: SocketAddr,
    link: Arc<Link>,
}

struct Link {
    target: SocketAddr,
    fault: Mutex<Fault>,
    open: Mutex<Vec<TcpStream>>,
    /// Connections made so far, and how many of them, the first ones, are silent until they are cut.
    made: AtomicUsize,
    silent: AtomicUsize,
}

impl Proxy {
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let link = Arc::new(Link {
            target,
            fault: Mutex::new(Fault::None),
            open: Mutex::default(),
            made: AtomicUsize::new(0),
            silent: AtomicUsize::new(0),
        });
        let acceptor = link.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                acceptor.connect(&client);
            }
        });
        Self { addr, link }
    }

    pub fn set(&self, fault: Fault) {
        *self.link.fault.lock().unwrap() = fault;
    }

    /// Passes nothing on, in either direction, for the connections that there are; new ones work.
    pub fn silence_open(&self) {
        let made = self.link.made.load(Ordering::SeqCst);
        self.link.silent.store(made, Ordering::SeqCst);
    }

    /// Ends all connections, with a reset where data are on their way.
    pub fn cut(&self) {
        for stream in self.link.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Link {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn connect(self: &Arc<Self>, client: &TcpStream) {
        let timeout = Duration::from_millis(500);
        let Ok(server) = TcpStream::connect_timeout(&self.target, timeout) else {
            return;
        };
        let ended = Arc::new(AtomicBool::new(false));
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        for (from, to, answers) in [(client, &server, false), (&server, client, true)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            from.set_nodelay(true).unwrap();
            from.set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            self.open.lock().unwrap().push(from.try_clone().unwrap());

            let (link, ended) = (self.clone(), ended.clone());
            thread::spawn(move || {
                link.pump(&from, &to, (number, answers), &ended);
                ended.store(true, Ordering::Relaxed);
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
            });
        }
    }

    /// Passes on what one side sends, until a side ends.
    fn pump(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        (number, answers): (usize, bool),
        ended: &AtomicBool,
    ) {
        let mut buffer = [0; 16 * 1024];
        while !ended.load(Ordering::Relaxed) {
            let read = match from.read(&mut buffer) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    continue;
                }
                Ok(0) | Err(_) => return,
                Ok(read) => read,
            };
            while self.holds(number, answers) && !ended.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }

            let piece = match self.fault() {
                Fault::Delay(time) => {
                    thread::sleep(time);
                    read
                }
                Fault::Slice => 3,
                _ => read,
            };
            for slice in buffer[..read].chunks(piece) {
                if to.write_all(slice).is_err() {
                    return;
                }
                if piece < read && self.fault() == Fault::Slice {
                    thread::sleep(Duration::from_micros(200));
                }
            }
        }
    }

    /// Whether nothing passes now on the connection with this number, in the direction of the answers or of
    /// the requests.
    fn holds(&self, number: usize, answers: bool) -> bool {
        match self.fault() {
            _ if number < self.silent.load(Ordering::SeqCst) => true,
            Fault::BlackHole => true,
            Fault::SwallowAnswers => answers,
            _ => false,
        }
    }
}
