//! `baton order carry --home`: gives an order to a node, whose daemon carries it to the enclaves from then on.

use std::time::{Duration, Instant};

use baton_core::order::signed::SignedOrder;
use serde_json::Value;

use super::node::home;
use crate::cli::OrderCarryArgs;
use crate::cli::node::{HomeArgs, default_home};
use crate::node::ops::{Op, Operator};
use crate::node::orders::How;
use crate::output::{Failure, Report};

/// Gives it, and says how far it has come.
pub fn carry(args: &OrderCarryArgs, signed: &SignedOrder) -> Result<Report, Failure> {
    let at = HomeArgs { home: args.home.clone().unwrap_or_else(default_home), json: args.json };
    let absolute = |path: &std::path::Path| std::path::absolute(path).map_err(|e| Failure::input(e).at(path.display()));
    let how = How {
        log: args.log.as_deref().map(absolute).transpose()?,
        witnesses: args.witness.clone(),
        tx: args.tx,
        publish: args.publish,
        old_rpc: args.old_rpc.clone(),
    };
    let op = Op::Carry { file: absolute(&args.file)?, how };
    let end = Instant::now() + Duration::from_secs(args.wait);
    let mut operator = Operator::open(home(&at)?)?;
    let mut out = Report::new();
    loop {
        let got = operator.ask(&op)?;
        for line in got["done"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            out.row("done", line);
        }
        let obeyed = got["state"] == "obeyed";
        if obeyed || Instant::now() >= end {
            tell(&mut out, signed, &got);
            return Ok(out);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn tell(out: &mut Report, signed: &SignedOrder, got: &Value) {
    for (key, value) in got.as_object().into_iter().flatten() {
        out.field(key, value.clone());
    }
    let order = signed.order();
    out.row("order", format!("{} ({}), digest {}", order.sequence, order.kind(), order.digest()));
    out.row("reason", &order.reason);
    let said = got["said"].as_str().unwrap_or_default();
    match got["state"].as_str() {
        Some("obeyed") => out.verdict(true, format!("{said}; status and log say so for ever")),
        Some("refused") => out.verdict(false, said),
        _ => {
            if let Some(refused) = got["last_refusal"].as_str() {
                out.row("refused before", refused);
            }
            out.verdict(false, format!("not yet: {said}; the daemon goes on with it, and so does the same command"))
        }
    };
}
