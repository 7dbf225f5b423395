//! Under a schedule explorer, a lock, threads and tasks that it switches, and a clock that stands still until a test
//! moves it. Everywhere else the ones that the service has.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::mem;
use std::ops::DerefMut;
use std::pin::pin;
use std::sync::PoisonError;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::future::{Either, select};
use shuttle::{future, thread};
use tokio::time::{Instant, MissedTickBehavior};

// The explorer runs all threads of a schedule on one thread of the process.
thread_local! {
    static CLOCK: Cell<Option<Instant>> = const { Cell::new(None) };
    static SLEEPERS: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
    static THREADS: RefCell<Vec<thread::JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
    static TASKS: RefCell<Vec<future::JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
}

fn is_explored() -> bool {
    shuttle::current::try_get_current_task().is_some()
}

/// Begins a schedule, with a clock of its own.
pub fn begin() {
    CLOCK.set(Some(Instant::now()));
    // What a schedule left that failed belongs to an explorer that is gone.
    mem::forget((SLEEPERS.take(), THREADS.take(), TASKS.take()));
}

/// Moves the clock.
pub fn advance(by: Duration) {
    CLOCK.set(Some(now() + by));
    for sleeper in SLEEPERS.take() {
        sleeper.wake();
    }
}

/// Ends the tasks, and waits for the threads of the blocking pool.
pub fn end() {
    for task in TASKS.take() {
        task.abort();
        let _ = future::block_on(task);
    }
    while let Some(thread) = THREADS.with_borrow_mut(Vec::pop) {
        thread.join().unwrap();
    }
}

/// The time.
pub fn now() -> Instant {
    let explored = is_explored().then(|| CLOCK.get()).flatten();
    explored.unwrap_or_else(Instant::now)
}

async fn sleep_until(time: Instant) {
    let sleep = |context: &mut std::task::Context| {
        if time <= now() {
            return Poll::Ready(());
        }
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.push(context.waker().clone()));
        Poll::Pending
    };
    poll_fn(sleep).await;
}

/// Like tokio's.
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Result<F::Output, ()> {
    if !is_explored() {
        return tokio::time::timeout_at(deadline, future)
            .await
            .map_err(drop);
    }
    match select(pin!(future), pin!(sleep_until(deadline))).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(_) => Err(()),
    }
}

/// Like tokio's.
pub enum Interval {
    Real(tokio::time::Interval),
    Explored { next: Instant, period: Duration },
}

/// Like tokio's.
pub fn interval(period: Duration) -> Interval {
    if is_explored() {
        let next = now();
        Interval::Explored { next, period }
    } else {
        Interval::Real(tokio::time::interval(period))
    }
}

impl Interval {
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        match self {
            Self::Real(interval) => interval.set_missed_tick_behavior(behavior),
            Self::Explored { .. } => assert_eq!(behavior, MissedTickBehavior::Delay),
        }
    }

    pub async fn tick(&mut self) -> Instant {
        match self {
            Self::Real(interval) => interval.tick().await,
            Self::Explored { next, period } => {
                sleep_until(*next).await;
                let tick = *next;
                *next = now() + *period;
                tick
            }
        }
    }
}

/// Like tokio's.
pub fn spawn_blocking(work: impl FnOnce() + Send + 'static) {
    if is_explored() {
        let thread = thread::spawn(work);
        THREADS.with_borrow_mut(|threads| threads.push(thread));
    } else {
        tokio::task::spawn_blocking(work);
    }
}

/// Like tokio's.
pub fn spawn_local(task: impl Future<Output = ()> + 'static) {
    if is_explored() {
        let task = future::spawn_local(task);
        TASKS.with_borrow_mut(|tasks| tasks.push(task));
    } else {
        tokio::task::spawn_local(task);
    }
}

/// Like parking_lot's.
pub enum Mutex<T> {
    Real(parking_lot::Mutex<T>),
    Explored(shuttle::sync::Mutex<T>),
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        if is_explored() {
            Self::Explored(shuttle::sync::Mutex::new(value))
        } else {
            Self::Real(parking_lot::Mutex::new(value))
        }
    }

    pub fn lock(&self) -> Box<dyn DerefMut<Target = T> + '_> {
        match self {
            Self::Real(mutex) => Box::new(mutex.lock()),
            Self::Explored(mutex) => Box::new(mutex.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}
