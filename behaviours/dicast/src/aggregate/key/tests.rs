//! What keys are refused, rounded and packed to.

use opus_core::pack::{from_bytes, to_bytes};
use proptest::prelude::*;

use super::*;

fn load() -> KeySpec {
    KeySpec {
        age_max: Duration::from_secs(10),
        ..KeySpec::new(Function::Mean, (0.0, 100.0), 0.01)
    }
}

#[test]
fn a_key_that_makes_no_sense_is_refused_with_its_reason() {
    let nan = KeySpec {
        range: (f64::NAN, 1.0),
        ..load()
    };
    assert_eq!(nan.checked(), Err(KeyError::RangeEnd));
    let narrow = KeySpec {
        range: (3.0, 3.0),
        ..load()
    };
    assert_eq!(narrow.checked(), Err(KeyError::RangeNarrow));
    let negative = KeySpec {
        tolerance: Tolerance::Total(-0.1),
        ..load()
    };
    assert_eq!(negative.checked(), Err(KeyError::Tolerance));
    let long = KeySpec {
        function: Function::TopK(17),
        ..load()
    };
    assert_eq!(long.checked(), Err(KeyError::TopLength));
    let share = KeySpec {
        sibling: f32::NAN,
        ..load()
    };
    assert_eq!(share.checked(), Err(KeyError::Sibling));
    let old = KeySpec {
        age_max: Duration::ZERO,
        ..load()
    };
    assert_eq!(old.checked(), Err(KeyError::Age));
    assert!(KeySpec::MEMBERS.checked().is_ok());
}

#[test]
fn a_range_grows_outward_so_that_rounded_values_stay_in_it() {
    let spec = KeySpec {
        range: (0.1, 0.3),
        ..load()
    };
    let spec = spec.checked().unwrap();
    assert!(spec.range.0 <= 0.1 && spec.range.1 >= 0.3);
    for value in [0.1, 0.2, 0.3, -9.0, 9.0, f64::INFINITY] {
        let admitted = f64::from(spec.admit(value).unwrap());
        assert!(admitted >= spec.range.0 && admitted <= spec.range.1);
    }
    assert_eq!(spec.admit(f64::NAN), None);
}

#[test]
fn a_packed_key_comes_out_again_in_20_bytes() {
    let spec = load().checked().unwrap();
    let bytes = to_bytes(&spec);
    assert_eq!(bytes.len(), 20);
    assert_eq!(from_bytes(&bytes), Ok(spec));
    let spec = KeySpec {
        function: Function::TopK(16),
        tolerance: Tolerance::PerLevel([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        mode: Mode::Statistical,
        urgency: Urgency::Eager,
        ..spec
    };
    assert_eq!(from_bytes(&to_bytes(&spec)), Ok(spec));
}

proptest! {
    #[test]
    fn hostile_bytes_give_a_lawful_key_or_none(
        bytes in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        if let Ok(spec) = from_bytes::<KeySpec>(&bytes) {
            prop_assert_eq!(spec.checked(), Ok(spec));
        }
    }
}
