//! Feeds: what readers are given, and what is left of them.

use bytes::Bytes;

use super::*;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn feed(budget: &Arc<Budget>, limit: usize) -> Feed {
    Feed::new(Arc::clone(budget), limit, Attempt(1), at(7))
}

fn text(n: usize) -> Bytes {
    Bytes::from(format!("\"{n}\""))
}

/// The numbers of the pieces that a reader is given, a gap as `-`, a restart as `!`.
fn read(feed: &Feed, seen: &mut Seen) -> String {
    let mut out = String::new();
    while let Some(piece) = feed.next(seen) {
        match piece {
            Piece::Chunk { number, .. } => out += &format!("{number} "),
            Piece::Gap { from, to, .. } => out += &format!("{from}-{to} "),
            Piece::Restart { attempt } => out += &format!("!{} ", attempt.0),
            Piece::Progress(progress) => out += &format!("{}% ", progress.fraction * 100.0),
            Piece::Line { line, .. } => out += &format!("{} ", line.text),
        }
    }
    out
}

#[test]
fn a_reader_is_given_every_piece_once_in_order_whenever_it_comes() {
    let budget = Arc::new(Budget::new(1 << 20));
    let feed = feed(&budget, 1 << 20);
    let mut early = Seen::default();
    assert_eq!(read(&feed, &mut early), "");
    (0..3).for_each(|n| assert!(feed.push(text(n))));
    assert_eq!(read(&feed, &mut early), "0 1 2 ");
    assert!(feed.push(text(3)));
    assert_eq!(read(&feed, &mut early), "3 ");
    assert_eq!(read(&feed, &mut Seen::default()), "0 1 2 3 ");
    let back = Seen::up_to(Cursor { run: 7, next: 2 });
    assert_eq!(read(&feed, &mut { back }), "2 3 ");
}

#[test]
fn who_has_read_of_another_run_is_told_to_begin_again_once() {
    let budget = Arc::new(Budget::new(1 << 20));
    let feed = feed(&budget, 1 << 20);
    let mut reader = Seen::default();
    let mut has_nothing = Seen::default();
    assert_eq!(read(&feed, &mut has_nothing), "");
    feed.push(text(0));
    assert_eq!(read(&feed, &mut reader), "0 ");
    feed.void(Attempt(2), at(7));
    assert_eq!(budget.used(), 0);
    assert_eq!(read(&feed, &mut reader), "!2 ");
    assert_eq!(read(&feed, &mut has_nothing), "");
    feed.push(text(0));
    assert_eq!(read(&feed, &mut reader), "0 ");
    assert_eq!(read(&feed, &mut has_nothing), "0 ");
    // Of a run before a crash.
    let mut back = Seen::up_to(Cursor { run: 3, next: 9 });
    assert_eq!(read(&feed, &mut back), "!2 0 ");
}

#[test]
fn a_reader_that_is_too_slow_is_told_what_it_missed() {
    let budget = Arc::new(Budget::new(1 << 20));
    let feed = feed(&budget, 3 * 67);
    let mut slow = Seen::default();
    feed.push(text(0));
    assert_eq!(read(&feed, &mut slow), "0 ");
    (1..6).for_each(|n| assert!(feed.push(text(n)), "there is room for others"));
    assert_eq!(read(&feed, &mut slow), "1-2 3 4 5 ");
    assert_eq!(read(&feed, &mut Seen::default()), "0-2 3 4 5 ");
    feed.push(Bytes::from(vec![b'1'; 500]));
    assert_eq!(read(&feed, &mut slow), "6-6 ", "larger than all that is kept");
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_all_share_is_given_back_with_the_feed() {
    let budget = Arc::new(Budget::new(3 * 67));
    let one = feed(&budget, 1 << 20);
    let two = feed(&budget, 1 << 20);
    (0..2).for_each(|n| assert!(one.push(text(n))));
    assert!(two.push(text(0)));
    assert!(!two.push(text(1)), "there is no room but its own");
    assert_eq!(read(&two, &mut Seen::default()), "0-0 1 ");
    drop(one);
    assert_eq!(budget.used(), 67);
    assert!(two.push(text(2)));
    drop(two);
    assert_eq!(budget.used(), 0);
}

fn line(bytes: usize) -> Line {
    Line {
        level: cresset_runner::LogLevel::Info,
        text: "x".repeat(bytes).into(),
        at: at(1),
        attempt: Attempt(1),
    }
}

#[test]
fn lines_keep_within_bounds_of_their_own_and_give_all_back() {
    let budget = Arc::new(Budget::new(64 << 20));
    let one = feed(&budget, 1);
    (0..1_000).for_each(|_| assert!(one.write(line(0))));
    assert_eq!(budget.used(), 256 * 64, "so many lines");
    (0..1_000).for_each(|_| assert!(one.write(line(4_032))));
    assert_eq!(budget.used(), 256 << 10, "so many bytes");
    // What was said is void, and why it came to that is not.
    one.push(text(1));
    one.void(Attempt(2), at(9));
    assert_eq!(budget.used(), 256 << 10);
    let mut seen = Seen::default().with_lines();
    assert_eq!(read(&one, &mut seen).len(), 64 * 4_033);
    assert_eq!(
        read(&one, &mut Seen::default()),
        "",
        "who does not ask is given none"
    );
    drop(one);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_line_that_finds_no_room_says_so_and_takes_none_of_others() {
    let budget = Arc::new(Budget::new(3 * 64));
    let (one, two) = (feed(&budget, 1 << 20), feed(&budget, 1 << 20));
    (0..3).for_each(|_| assert!(one.write(line(0))));
    assert!(!two.write(line(0)));
    assert_eq!(read(&two, &mut Seen::default().with_lines()), "");
    assert!(!one.write(line(64)), "it takes that of its own older ones");
    assert_eq!(budget.used(), 3 * 64);
    drop(one);
    assert!(two.write(line(0)));
    let mut seen = Seen::default().with_lines();
    assert!(matches!(two.next(&mut seen), Some(Piece::Line { number: 1, .. })));
    drop(two);
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_newest_progress_is_given_once_and_none_after_the_end() {
    let budget = Arc::new(Budget::new(1));
    let feed = feed(&budget, 1);
    let progress = |fraction| Progress {
        fraction,
        message: None,
        at: at(1),
    };
    let mut reader = Seen::default();
    feed.say(progress(0.25));
    feed.say(progress(0.5));
    assert_eq!(read(&feed, &mut reader), "50% ");
    assert_eq!(feed.progress(), Some(progress(0.5)));
    feed.over();
    assert_eq!(feed.progress(), None);
    assert_eq!(read(&feed, &mut Seen::default()), "");
}

#[test]
fn a_run_that_is_over_is_kept_for_a_while_and_gives_way_to_the_next() {
    let feeds = Feeds::new(1 << 20);
    let id = TaskId::fresh();
    let run = || Arc::new(feed(&feeds.budget, 1 << 20));
    let seconds = Duration::from_secs;
    assert!(feeds.of(id).is_none());
    let first = run();
    feeds.open(id, &first, seconds(0));
    first.push(text(0));
    feeds.close(id, &first, seconds(1));
    let kept = feeds.of(id).map(|feed| read(&feed, &mut Seen::default()));
    assert_eq!(kept.as_deref(), Some("0 "));
    let second = run();
    feeds.open(id, &second, seconds(2));
    feeds.purge(seconds(100));
    assert!(
        feeds.of(id).is_some_and(|feed| Arc::ptr_eq(&feed, &second)),
        "the first is not taken for the second"
    );
    feeds.close(id, &second, seconds(100));
    feeds.squeeze();
    drop((first, second));
    assert_eq!((feeds.len(), feeds.budget.used()), (0, 0));
    assert!(feeds.of(id).is_none());
}

#[test]
fn lines_have_a_number_and_a_budget() {
    let budget = Arc::new(Budget::new(3 * 67));
    let feed = feed(&budget, 1000);
    let write = |text: &str| {
        feed.write(Line {
            level: cresset_runner::LogLevel::Info,
            text: text.into(),
            at: at(1),
            attempt: Attempt(1),
        })
    };
    assert!(
        ["one", "two", "six"]
            .map(write)
            .into_iter()
            .all(|has_room| has_room)
    );
    assert!(!write("ten"), "it took the place of the oldest");
    let mut seen = Seen::default().with_lines();
    assert_eq!(read(&feed, &mut seen), "two six ten ");
    assert!(!write(&"x".repeat(200)), "longer than all that is shared");
    assert_eq!((read(&feed, &mut seen).as_str(), budget.used()), ("", 0));
    assert!(write("end"));
    assert_eq!(read(&feed, &mut seen), "end ");
    drop(feed);
    assert_eq!(budget.used(), 0);
}
