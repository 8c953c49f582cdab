//! What EvHub's triggers ask for, and which are refused.

use evhub_proto::evhub_comm::{CrontabPulser, RegularPulser};

use super::*;
use crate::evhub::Code;

fn trigger(change: impl FnOnce(&mut EventRepeatTrigger)) -> EventTrigger {
    let interval = Some(prost_types::Duration { seconds: 10, nanos: 0 });
    let mut repeat = EventRepeatTrigger {
        end_type: 2,
        repeat_end: Some(RepeatEnd { repeat_times: 3, end_time: None }),
        pulser_type: 1,
        regular_pulser: Some(RegularPulser { interval }),
        ..EventRepeatTrigger::default()
    };
    change(&mut repeat);
    EventTrigger { trigger_type: 3, repeat_trigger: Some(repeat), ..EventTrigger::default() }
}

fn crontab(text: &str) -> CrontabPulser {
    CrontabPulser { crontab: text.to_owned() }
}

#[test]
fn what_is_asked_for_is_read() {
    let later = prost_types::Timestamp { seconds: 4_000_000_000, nanos: 1 };
    let (begin, end) = (4_000_000_000_001, Some(4_000_000_000_001));
    let every = Pace::Every(Duration::from_secs(10));
    let cases = [
        (trigger(|_| {}), When::After(Duration::ZERO), every.clone(), Until::Count(3)),
        (trigger(|it| it.begin_time = Some(later)), When::At(begin), every.clone(), Until::Count(3)),
        (trigger(|it| it.end_type = 0), When::After(Duration::ZERO), every.clone(), Until::First),
        (trigger(|it| it.repeat_end = None), When::After(Duration::ZERO), every.clone(), Until::Count(0)),
        (
            trigger(|it| {
                it.end_type = 1;
                it.repeat_end = Some(RepeatEnd { repeat_times: 9, end_time: Some(later) });
            }),
            When::After(Duration::ZERO),
            every,
            Until::Time(end),
        ),
        (
            trigger(|it| (it.pulser_type, it.crontab_pulser) = (2, Some(crontab("*/5 * * * *")))),
            When::After(Duration::ZERO),
            Pace::Crontab("*/5 * * * *".to_owned()),
            Until::Count(3),
        ),
    ];
    for (trigger, when, pace, until) in cases {
        let shown = format!("{trigger:?}");
        assert_eq!(read(trigger).unwrap(), (when, Repeat { pace, until }), "{shown}");
    }
}

#[test]
fn what_can_be_no_chain_is_a_wrong_parameter() {
    let past = prost_types::Timestamp { seconds: 1, nanos: 0 };
    let short = Some(prost_types::Duration { seconds: 0, nanos: 99_000_000 });
    let cases = [
        (EventTrigger { repeat_trigger: None, ..trigger(|_| {}) }, "repeat_trigger is missing"),
        (trigger(|it| it.pulser_type = 0), "pulser_type is missing"),
        (trigger(|it| it.pulser_type = 7), "no pulser_type 7"),
        (trigger(|it| it.end_type = 7), "no end_type 7"),
        (trigger(|it| it.regular_pulser = None), "interval is missing"),
        (trigger(|it| it.regular_pulser = Some(RegularPulser { interval: short })), "100ms"),
        (trigger(|it| (it.pulser_type, it.crontab_pulser) = (2, None)), "crontab is missing"),
        (trigger(|it| (it.pulser_type, it.crontab_pulser) = (2, Some(crontab("* * *")))), "crontab"),
        (trigger(|it| (it.pulser_type, it.crontab_pulser) = (2, Some(crontab("0 0 0 30 2 *")))), "crontab"),
        (
            trigger(|it| {
                it.end_type = 1;
                it.repeat_end = Some(RepeatEnd { repeat_times: 0, end_time: Some(past) });
            }),
            "after the beginning",
        ),
        (trigger(|it| it.begin_time = Some(prost_types::Timestamp { seconds: 1, nanos: -1 })), "begin_time"),
    ];
    for (trigger, words) in cases {
        let shown = format!("{trigger:?}");
        let fault = read(trigger).unwrap_err();
        assert_eq!(fault.code, Code::Parameter, "{shown}");
        assert!(fault.message.contains(words), "{shown}: {}", fault.message);
    }
}
