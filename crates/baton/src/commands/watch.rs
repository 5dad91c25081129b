//! `baton watch`: one page in the terminal that shows an upgrade live.
//!
//! It asks the node's daemon and nobody else, draws what it says, and changes nothing. While the daemon is away it shows what was
//! known last, and says so.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Style;
use ratatui::widgets::Paragraph;
use ratatui::{DefaultTerminal, Frame};
use serde_json::Value;

use super::node::{date_row, home};
use crate::cli::node::WatchArgs;
use crate::node::peers::Peer;
use crate::output::{Failure, Report};
use crate::times::{show_about, show_time};

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_millis(500);
/// Longest wait for its answer.
const LIMIT: Duration = Duration::from_secs(3);
/// Blocks before a plan's height at which its bar begins.
const BAR_BLOCKS: u64 = 1000;
/// Characters of a bar in the vote.
const VOTE_BAR: usize = 30;

/// What is drawn.
#[derive(Clone, Debug, Default)]
struct Shown {
    url: String,
    status: Option<Value>,
    away: Option<String>,
}

impl Shown {
    fn ask(&mut self, daemon: &Peer) {
        match daemon.get_json("/v1/status") {
            Ok(status) => (self.status, self.away) = (Some(status), None),
            Err(e) => self.away = Some(format!("{e:#}")),
        }
    }
}

/// How a line looks where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    Bold,
    Good,
    Bad,
}

/// One line of the page.
struct Line(Tone, String);

fn plain(text: impl Into<String>) -> Line {
    Line(Tone::Plain, text.into())
}

fn judged(good: bool, text: impl Into<String>) -> Line {
    Line(if good { Tone::Good } else { Tone::Bad }, text.into())
}

/// Shows the page until q is pressed; once, where nobody sits at the terminal.
pub fn watch(args: &WatchArgs) -> Result<Report, Failure> {
    let home = home(&args.at)?;
    let url = format!("http://{}", home.config().listen);
    let daemon = Peer::new(&url, LIMIT, &Default::default());
    let mut shown = Shown { url, ..Shown::default() };
    shown.ask(&daemon);
    if args.once || args.at.json || !std::io::stdout().is_terminal() {
        let mut out = Report::new();
        let text = written(&page(&shown, args.width.into(), args.height.into()));
        out.text(text.trim_end()).field("page", text).field("status", shown.status.clone()).field("away", shown.away.clone());
        return Ok(out);
    }
    live(&daemon, &mut shown).map_err(Failure::input)?;
    Ok(Report::new())
}

fn live(daemon: &Peer, shown: &mut Shown) -> std::io::Result<()> {
    // As a terminal shows it that is put back as it was, also after a panic.
    let mut terminal = ratatui::try_init()?;
    let done = follow(daemon, shown, &mut terminal);
    ratatui::try_restore()?;
    done
}

fn follow(daemon: &Peer, shown: &mut Shown, terminal: &mut DefaultTerminal) -> std::io::Result<()> {
    loop {
        terminal.draw(|frame| draw(shown, frame))?;
        let again = Instant::now() + EVERY;
        while let Some(left) = again.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) {
            if !event::poll(left)? {
                continue;
            }
            match event::read()? {
                Event::Key(key) if quits(&key) => return Ok(()),
                Event::Resize(..) => break,
                _ => {}
            }
        }
        shown.ask(daemon);
    }
}

/// In raw mode the terminal sends Ctrl-C as a key.
fn quits(key: &KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc) || (control && key.code == KeyCode::Char('c'))
}

fn draw(shown: &Shown, frame: &mut Frame<'_>) {
    let area = frame.area();
    let lines = page(shown, area.width.into(), area.height.into()).into_iter().map(|Line(tone, text)| {
        let style = match tone {
            Tone::Plain => Style::new(),
            Tone::Bold => Style::new().bold(),
            Tone::Good => Style::new().green(),
            Tone::Bad => Style::new().red(),
        };
        ratatui::text::Line::styled(text, style)
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

/// The page as text.
fn written(page: &[Line]) -> String {
    page.iter().map(|Line(_, text)| format!("{text}\n")).collect()
}

fn text<'v>(v: &'v Value, name: &str) -> &'v str {
    v[name].as_str().unwrap_or("-")
}

fn list<'v>(v: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    v[name].as_array().into_iter().flatten()
}

fn short(v: &Value, name: &str) -> String {
    text(v, name).chars().take(16).collect()
}

/// The whole page, at most this wide and high; the newest lines of the log are at its end.
fn page(shown: &Shown, width: usize, height: usize) -> Vec<Line> {
    let none = Value::Null;
    let s = shown.status.as_ref().unwrap_or(&none);
    let rule = |title: &str| Line(Tone::Bold, format!("── {title} {}", "─".repeat(width.saturating_sub(title.chars().count() + 4))));
    let mut out = vec![rule(s["name"].as_str().unwrap_or(&shown.url))];
    out.extend(top(shown, s));
    out.push(rule("plan"));
    out.extend(progress(s, width));
    let vote = vote(&s["vote"]);
    if !vote.is_empty() {
        out.push(rule("vote, beside the bar inside the enclave"));
        out.extend(vote);
    }
    out.push(rule("builds on this machine"));
    out.extend(list(s, "seats").map(seat));
    out.push(rule("peers and barrier"));
    out.extend(others(s));
    out.push(rule("log (q quits)"));
    let (mut log, room) = (log_lines(s), height.saturating_sub(out.len()));
    out.extend(log.drain(log.len().saturating_sub(room)..));
    out.truncate(height);
    for Line(_, text) in &mut out {
        // What a peer or an endpoint says must not move the cursor.
        *text = text.chars().filter(|c| !c.is_control()).take(width).collect();
    }
    out
}

fn top(shown: &Shown, s: &Value) -> Vec<Line> {
    if let Some(away) = &shown.away {
        let known = if shown.status.is_some() { "what follows was known last" } else { "nothing is known" };
        return vec![judged(false, format!("the daemon is away; {known} ({away})"))];
    }
    let chain = &s["chain"];
    let mut line = format!("{} at height {}", text(chain, "id"), chain["height"].as_u64().unwrap_or(0));
    if let Some(time) = chain["time"].as_u64().filter(|t| *t > 0) {
        line += &format!(", {}", show_time(time));
    }
    let mut out = vec![plain(line)];
    if let Some(x) = chain["halted_at"].as_u64() {
        out.push(Line(Tone::Bold, format!("HALTED for the plan at {x}")));
    }
    if let Some(e) = chain["error"].as_str() {
        out.push(judged(false, format!("not seen: {e}")));
    }
    out
}

/// The way to the plan's height, over the last thousand blocks.
fn progress(s: &Value, width: usize) -> Vec<Line> {
    let plan = &s["plan"];
    let Some(target) = plan["height"].as_u64() else { return vec![plain("none is pending")] };
    let left = plan["blocks_left"].as_u64().unwrap_or(0);
    let room = u64::try_from(width.saturating_sub(2)).unwrap_or(0);
    let filled = usize::try_from(room - room * left.min(BAR_BLOCKS) / BAR_BLOCKS).unwrap_or(0);
    let bar = "█".repeat(filled) + &"░".repeat(width.saturating_sub(2).saturating_sub(filled));
    let ms = s["chain"]["block_ms"].as_u64().filter(|ms| *ms > 0 && left > 0);
    let eta = ms.map_or(String::new(), |ms| format!(", about {}", show_about(left.saturating_mul(ms) / 1000)));
    let holds = |x: &Value| matches!(x["state"].as_str(), Some("received" | "holding" | "offered" | "confirmed"));
    let confirmed = list(s, "seats").find(|x| x["measurement"] == plan["measurement"]).is_some_and(holds);
    let how = if confirmed { "handed over here" } else { "not handed over here yet" };
    vec![judged(confirmed, bar), plain(format!("{} at {target}: {left} blocks left{eta}, {how}", text(plan, "name")))]
}

fn vote(v: &Value) -> Vec<Line> {
    if v.is_null() {
        return Vec::new();
    }
    let ends = v["ends"].as_u64().map_or("-".into(), show_time);
    let mut out = vec![plain(format!("proposal {} {} for {} at {}, ends {ends}", v["proposal"], text(v, "status"), text(v, "plan"), v["height"]))];
    if v["tally"].is_null() {
        out.push(plain("no endpoint counts the votes"));
    }
    for bar in list(v, "bars").filter(|b| b["name"] != "override") {
        let (share, wanted) = (bar["share"].as_f64().unwrap_or(0.0), text(bar, "bar").parse::<f64>().unwrap_or(0.0));
        let at = |share: f64| (share.clamp(0.0, 1.0) * (VOTE_BAR as f64)).round() as usize;
        let (filled, mark) = (at(share), at(wanted).min(VOTE_BAR - 1));
        let drawn: String = (0..VOTE_BAR).map(|i| if i == mark { '|' } else if i < filled { '#' } else { '.' }).collect();
        let line = format!("{:<10} [{drawn}] {:6.2} %, {} {:.2} %", text(bar, "name"), share * 100.0, text(bar, "rule"), wanted * 100.0);
        out.push(judged(bar["holds"] == true, line));
    }
    out
}

fn seat(s: &Value) -> Line {
    let mut line = format!("{:<10} {} {:<9}", text(s, "build"), short(s, "measurement"), text(s, "state"));
    line += if s["serving"] == true { " serving" } else { "        " };
    line += &format!("  svn {}  head {}", s["svn"], s["head"]);
    if s["rehearsed_as_source"] == true {
        line += "  rehearsed";
    }
    if let Some(x) = s["activated_at"].as_u64() {
        line += &format!("  activated at {x}");
    }
    if s["passed_over"] == true {
        line += "  passed over";
    }
    Line(if s["serving"] == true { Tone::Bold } else { Tone::Plain }, line)
}

fn others(s: &Value) -> Vec<Line> {
    let mut out: Vec<Line> = list(s, "peers").map(|p| {
        let seats: Vec<String> = list(p, "seats").map(|x| format!("{} {}", text(x, "build"), text(x, "state"))).collect();
        let ok = p["ok"] == true;
        judged(ok, format!("{}  {}", text(p, "url"), if ok { seats.join(", ") } else { format!("no answer: {}", text(p, "error")) }))
    }).collect();
    let b = &s["barrier"];
    out.push(plain(match b.is_null() {
        true => "barrier: no old copy waits".to_string(),
        false => format!("barrier of {}: {} of {} machines have given receipts, grace until {}", text(b, "build"), b["platforms"], b["wanted"], b["grace_until"].as_u64().map_or("-".into(), |g| g.to_string())),
    }));
    out
}

fn log_lines(s: &Value) -> Vec<Line> {
    let bad = |line: String| judged(false, line);
    let mut out: Vec<Line> = list(s, "recent").map(|r| plain(format!("{}  {}: {}", r["time"].as_u64().map_or("-".into(), show_time), text(r, "step"), text(r, "text")))).collect();
    out.extend(list(s, "expires").filter(|d| d["state"] != "ok").map(|d| bad(format!("expires: {}", date_row(d)))));
    out.extend(list(s, "emergencies").map(|e| bad(format!("emergency: order {} ({}) at height {}", e["number"], text(e, "kind"), e["height"]))));
    out.extend(list(s, "orders").filter(|o| o["state"] != "obeyed").map(|o| bad(format!("order {} ({}): {}", o["number"], text(o, "kind"), text(o, "said")))));
    out.extend(list(s, "warnings").filter_map(Value::as_str).map(|w| bad(format!("warning: {w}"))));
    out.extend(list(s, "failing").map(|x| bad(format!("failing: {}: {}", text(x, "step"), text(x, "text")))));
    out
}

/// A status as a node would give it, for tests and for the pictures in the manual.
#[cfg(test)]
fn example() -> Value {
    serde_json::json!({
        "name": "node0",
        "chain": {"id": "mychain-1", "height": 119_700, "time": 1_770_000_000, "block_ms": 6000, "halted_at": null, "error": null},
        "plan": {"name": "enclave-v2", "height": 120_000, "blocks_left": 300, "measurement": "bb", "proposal": 12},
        "vote": {"proposal": 12, "status": "PASSED", "plan": "enclave-v2", "height": 120_000, "ends": 1_769_990_000, "tally": {}, "meets": true, "bars": [
            {"name": "quorum", "rule": "turnout of all bonded power, at least", "bar": "0.329", "share": 0.61, "holds": true},
            {"name": "threshold", "rule": "yes of all but abstentions, above", "bar": "0.5", "share": 0.93, "holds": true},
        ]},
        "seats": [
            {"build": "v1", "measurement": "aaaaaaaaaaaaaaaaaaaaaaaa", "state": "confirmed", "serving": true, "svn": 1, "head": 119_690},
            {"build": "v2", "measurement": "bb", "state": "received", "serving": false, "svn": 2, "head": 119_690, "rehearsed_as_source": true},
        ],
        "peers": [{"url": "http://10.0.0.2:7710", "ok": true, "seats": [{"build": "v1", "state": "confirmed"}]}, {"url": "http://10.0.0.3:7710", "ok": false, "error": "refused"}],
        "barrier": {"build": "v1", "platforms": 1, "wanted": 3, "grace_until": null},
        "recent": [{"time": 1_769_999_000, "step": "ahead", "text": "v1 handed over to v2"}],
        "failing": [{"step": "records", "text": "no funds"}],
    })
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::style::Color;

    use super::*;

    fn shown(status: Option<Value>, away: Option<&str>) -> String {
        let shown = Shown { url: "http://127.0.0.1:7710".into(), status, away: away.map(String::from) };
        written(&page(&shown, 120, 30))
    }

    #[test]
    fn the_page_shows_plan_vote_builds_peers_barrier_and_what_fails() {
        let page = shown(Some(example()), None);
        for words in [
            "node0", "mychain-1 at height 119700", "enclave-v2 at 120000: 300 blocks left, about 30 minutes", "handed over here", "quorum     [##########|#######",
            "confirmed serving", "received", "http://10.0.0.3:7710  no answer: refused", "1 of 3 machines", "ahead: v1 handed over to v2", "failing: records: no funds", "q quits",
        ] {
            assert!(page.contains(words), "no {words:?} in\n{page}");
        }
        assert!(page.lines().all(|l| l.chars().count() <= 120) && page.lines().count() <= 30);
    }

    #[test]
    fn a_daemon_that_is_away_is_said_and_what_was_known_last_stays() {
        let nothing = shown(None, Some("connection refused"));
        assert!(nothing.contains("the daemon is away; nothing is known (connection refused)") && nothing.contains("none is pending"), "{nothing}");
        let last = shown(Some(example()), Some("connection refused"));
        assert!(last.contains("what follows was known last") && last.contains("enclave-v2 at 120000"), "{last}");
    }

    #[test]
    fn the_bar_moves_with_the_height_and_small_terminals_are_no_trouble() {
        let filled = |left: u64| {
            let mut s = example();
            s["plan"]["blocks_left"] = left.into();
            shown(Some(s), None).chars().filter(|c| *c == '█').count()
        };
        assert!(filled(900) < filled(300) && filled(300) < filled(1));
        for (w, h) in [(20, 5), (40, 10), (1, 1), (0, 0)] {
            let lines = page(&Shown { status: Some(example()), ..Shown::default() }, w, h);
            assert!(lines.len() <= h && lines.iter().all(|l| l.1.chars().count() <= w), "{w} {h}");
        }
    }

    #[test]
    fn a_peers_words_move_no_cursor() {
        let mut s = example();
        s["peers"][0]["url"] = "http://x\u{1b}[2J\n".into();
        let text = shown(Some(s), None);
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_terminal_shows_the_page_and_what_is_wrong_in_red() {
        let mut terminal = Terminal::new(TestBackend::new(120, 30)).unwrap();
        let live = Shown { status: Some(example()), ..Shown::default() };
        terminal.draw(|frame| draw(&live, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines: Vec<String> = (0..30).map(|y| (0..120).map(|x| buffer[(x, y)].symbol()).collect::<String>()).collect();
        let asked = written(&page(&live, 120, 30));
        assert!(lines.iter().map(|l| l.trim_end()).eq(asked.lines().map(str::trim_end).chain(std::iter::repeat("")).take(30)));
        let y = lines.iter().position(|l| l.contains("no answer: refused")).unwrap();
        assert_eq!(buffer[(0, y as u16)].fg, Color::Red);
    }

    #[test]
    fn q_escape_and_control_c_quit_and_nothing_else() {
        let key = |code, modifiers| quits(&KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE) && key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE) && !key(KeyCode::Enter, KeyModifiers::NONE));
    }
}
