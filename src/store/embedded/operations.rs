//! What each step of the store does to the rows, within one transaction: the same decisions that `redis/scripts.rs`
//! says in Lua.

use jiff::Timestamp;

use super::rows::{Row, Rows, State};
use crate::store::{Address, FamilyStart, FirstUse, Replaced, RotateFamily, Rotation, Sealed, StoreError, Taken};

type Done<T> = Result<T, StoreError>;

pub(super) fn use_once(rows: &mut Rows<'_>, address: Address, until: Timestamp, now: Timestamp) -> Done<FirstUse> {
    if rows.get(&address, now)?.is_some() {
        return Ok(FirstUse::Repeated);
    }
    rows.set(&address, &Row::mark(State::Live, until), now)?;
    Ok(FirstUse::First)
}

pub(super) fn put(rows: &mut Rows<'_>, record: &Sealed, now: Timestamp) -> Done<()> {
    let address = record.address();
    match rows.get(&address, now)? {
        Some(_) => Err(StoreError::Exists { address }),
        None => rows.set(&address, &Row::of(record, 1), now),
    }
}

pub(super) fn replace(rows: &mut Rows<'_>, version: u64, record: &Sealed, now: Timestamp) -> Done<Replaced> {
    match rows.get(&record.address(), now)? {
        Some(row) if row.state == State::Live && row.version == version => {
            rows.set(&record.address(), &Row::of(record, version.saturating_add(1)), now)?;
            Ok(Replaced::Replaced)
        }
        Some(row) if row.state == State::Live => Ok(Replaced::Changed),
        Some(_) | None => Ok(Replaced::Absent),
    }
}

pub(super) fn take(rows: &mut Rows<'_>, address: Address, remember_until: Timestamp, now: Timestamp) -> Done<Taken> {
    let Some(row) = rows.get(&address, now)? else { return Ok(Taken::Absent) };
    match row.state {
        State::Live => {
            let until = row.until.max(remember_until);
            rows.set(&address, &Row { state: State::Taken, until, ..row.clone() }, now)?;
            row.into_sealed(address).map(Taken::First)
        }
        State::Taken => row.into_sealed(address).map(Taken::Again),
        State::Ended => Ok(Taken::Absent),
    }
}

pub(super) fn start_family(rows: &mut Rows<'_>, record: &Sealed, now: Timestamp) -> Done<FamilyStart> {
    if rows.get(&record.address(), now)?.is_some() {
        return Ok(FamilyStart::Refused);
    }
    rows.set(&record.address(), &Row::of(record, 1), now)?;
    Ok(FamilyStart::Started)
}

pub(super) fn rotate_family(rows: &mut Rows<'_>, step: &RotateFamily, now: Timestamp) -> Done<Rotation> {
    let family = step.next.address();
    let Some(row) = rows.get(&family, now)?.filter(|row| row.state == State::Live) else {
        return Ok(Rotation::Unknown);
    };
    match step.presented.cmp(&row.version) {
        std::cmp::Ordering::Equal => {
            rows.set(&family, &Row::of(&step.next, row.version.saturating_add(1)), now)?;
            Ok(Rotation::Rotated)
        }
        std::cmp::Ordering::Less => {
            end_family(rows, family, step.revoked_until, now)?;
            Ok(Rotation::Reused)
        }
        std::cmp::Ordering::Greater => Ok(Rotation::Unknown),
    }
}

pub(super) fn end_family(rows: &mut Rows<'_>, family: Address, until: Timestamp, now: Timestamp) -> Done<()> {
    revoke(rows, family.revocation(), until, now)?;
    rows.set(&family, &Row::mark(State::Ended, until), now)
}

pub(super) fn revoke(rows: &mut Rows<'_>, revocation: Address, until: Timestamp, now: Timestamp) -> Done<()> {
    if rows.get(&revocation, now)?.is_some_and(|row| row.until >= until) {
        return Ok(());
    }
    rows.set(&revocation, &Row::mark(State::Live, until), now)
}
