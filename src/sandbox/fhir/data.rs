//! The data set: a small clinic's scheduling, the same at every start, and a little clinical data around it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::store::Store;

/// The first Patient that a search lists; Epic's sandbox has one with this ID too.
pub const FIRST_PATIENT: &str = "erXuFYUfucBZaryVksYEcMg3";
/// The first Practitioner, whose Schedule is `schedule-1`.
pub const PRACTITIONER: &str = "eM5CWtq15N0WJeuCet5bJlQ3";
/// A Slot that is free at every start.
pub const FREE_SLOT: &str = "slot-1";
/// A booked Appointment of [`FIRST_PATIENT`] with [`PRACTITIONER`].
pub const BOOKED_APPOINTMENT: &str = "appointment-1";

/// When everything was last changed, in seconds since the epoch: 2027-01-04T08:00:00Z.
const LAST_CHANGE: i64 = 1_799_049_600;

/// ID, family name, given names, gender, birth date.
const PATIENTS: [(&str, &str, &[&str], &str, &str); 12] = [
    (FIRST_PATIENT, "Lopez", &["Camila", "Maria"], "female", "1987-09-12"),
    ("eq081-VQEgP8drUUqCWzHfw3", "Lin", &["Derrick"], "male", "1973-06-03"),
    ("eAB3mDIBBcyUKviyzrxsnAw3", "Powell", &["Desiree", "Caroline"], "female", "2014-11-14"),
    ("egqBHVfQlt4Bw3XGXoxVxHg3", "Davis", &["Elijah", "John"], "male", "1993-08-18"),
    ("eIXesllypH3M9tAA5WdJftQ3", "Ross", &["Linda", "Jane"], "female", "1969-04-27"),
    ("eh2xYHuzl9nkSFVvV3osUHg3", "Roberts", &["Olivia", "Anne"], "female", "2003-01-07"),
    ("e0w0LEDCYtfckT6N.CkJKCw3", "McGinnis", &["Warren", "James"], "male", "1952-05-24"),
    ("patient-8", "Nguyen", &["Minh"], "male", "1980-02-29"),
    ("patient-9", "O'Neill", &["Siobhán"], "female", "1991-12-31"),
    ("patient-10", "Müller", &["Jürgen"], "male", "1966-10-05"),
    ("patient-11", "Lopez", &["Aaron"], "male", "2019-03-21"),
    ("patient-12", "Okafor", &["Ngozi"], "female", "1998-07-16"),
];

/// ID, family name, given name.
const PRACTITIONERS: [(&str, &str, &str); 4] = [
    (PRACTITIONER, "Cadence", "Anna"),
    ("practitioner-2", "Physician", "Family"),
    ("practitioner-3", "Ramesh", "Priya"),
    ("practitioner-4", "Lindqvist", "Erik"),
];

/// Fills a store. `base` is the FHIR base: a few references are absolute, as real data has them.
pub(super) fn seed(store: &mut Store, base: &str) {
    let clinic = json!({
        "status": "active",
        "name": "Hearth Family Clinic",
        "mode": "instance",
        "address": { "line": ["1 Gate Street"], "city": "Verona", "state": "WI", "postalCode": "53593" },
    });
    add(store, "Location", "location-1", clinic);
    for (index, patient) in PATIENTS.iter().enumerate() {
        add(store, "Patient", patient.0, self::patient(index + 1, patient));
    }
    for (index, (id, family, given)) in PRACTITIONERS.iter().enumerate() {
        let number = index + 1;
        let practitioner = json!({
            "active": true,
            "identifier": [{ "system": "http://hl7.org/fhir/sid/us-npi", "value": format!("100000000{number}") }],
            "name": [{ "use": "usual", "text": format!("{given} {family}, MD"), "family": family, "given": [given] }],
        });
        add(store, "Practitioner", id, practitioner);
        let schedule = json!({
            "active": true,
            "serviceType": [{ "text": "Office visit" }],
            "actor": [reference("Practitioner", id), reference("Location", "location-1")],
            "planningHorizon": { "start": "2027-03-01T00:00:00Z", "end": "2027-03-06T00:00:00Z" },
        });
        add(store, "Schedule", &format!("schedule-{number}"), schedule);
    }
    slots(store);
    appointments(store);
    encounters(store, base);
    observations(store);
    documents(store, base);
}

fn patient(number: usize, (_, family, given, gender, birth): &(&str, &str, &[&str], &str, &str)) -> Value {
    json!({
        "active": true,
        "identifier": [
            { "use": "usual", "type": { "text": "MRN" }, "system": "urn:oid:1.2.840.114350.1.13.0.1.7.5.737384.14",
              "value": format!("{}", 203_700 + number) },
        ],
        "name": [{ "use": "official", "text": format!("{} {family}", given.join(" ")), "family": family, "given": given }],
        "telecom": [{ "system": "phone", "value": format!("608-555-01{number:02}"), "use": "home" }],
        "gender": gender,
        "birthDate": birth,
        "address": [{ "use": "home", "city": "Madison", "state": "WI", "postalCode": "53703", "country": "US" }],
        "generalPractitioner": [reference("Practitioner", PRACTITIONER)],
        "managingOrganization": { "display": "Hearth Family Clinic" },
    })
}

/// Ten half hours for each of the four schedules, one schedule a day from Monday 2027-03-01 on; those that an
/// appointment takes are busy.
fn slots(store: &mut Store) {
    for number in 1..=40_usize {
        let (schedule, start, end) = place(number);
        let slot = json!({
            "serviceType": [{ "text": "Office visit" }],
            "schedule": reference("Schedule", &schedule),
            "status": if appointment_of(number).is_some() { "busy" } else { "free" },
            "start": start,
            "end": end,
        });
        add(store, "Slot", &format!("slot-{number}"), slot);
    }
}

/// Schedule, start and end of a slot.
fn place(slot: usize) -> (String, String, String) {
    let (schedule, half_hour) = ((slot - 1) / 10 + 1, (slot - 1) % 10);
    let time = |half_hour: usize| {
        let (hour, minute) = (9 + half_hour / 2, half_hour % 2 * 30);
        format!("2027-03-{schedule:02}T{hour:02}:{minute:02}:00Z")
    };
    (format!("schedule-{schedule}"), time(half_hour), time(half_hour + 1))
}

/// The appointment that takes a slot: 2, 4, 7, 9 and 10 of each of the first three schedules.
fn appointment_of(slot: usize) -> Option<usize> {
    let place = [2, 4, 7, 9, 10].iter().position(|taken| *taken == (slot - 1) % 10 + 1)?;
    let schedule = (slot - 1) / 10;
    (schedule < 3).then_some(schedule * 5 + place + 1)
}

fn appointments(store: &mut Store) {
    let statuses = ["booked", "booked", "fulfilled", "cancelled", "booked"];
    for slot in 1..=40_usize {
        let Some(number) = appointment_of(slot) else { continue };
        let (_, start, end) = place(slot);
        let participant = |actor: Value| json!({ "actor": actor, "required": "required", "status": "accepted" });
        let appointment = json!({
            "status": statuses.get((number - 1) % statuses.len()),
            "serviceType": [{ "text": "Office visit" }],
            "description": format!("Visit {number}"),
            "start": start,
            "end": end,
            "minutesDuration": 30,
            "slot": [reference("Slot", &format!("slot-{slot}"))],
            "participant": [
                participant(reference("Patient", patient_id(number - 1))),
                participant(reference("Practitioner", practitioner_id((slot - 1) / 10))),
                participant(reference("Location", "location-1")),
            ],
        });
        add(store, "Appointment", &format!("appointment-{number}"), appointment);
    }
}

fn encounters(store: &mut Store, base: &str) {
    for number in 1..=6_usize {
        let encounter = json!({
            "status": if number == 6 { "in-progress" } else { "finished" },
            "class": { "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB" },
            // Absolute, as servers also write them: a gateway has to turn it into its own base.
            "subject": { "reference": format!("{base}/Patient/{}", patient_id(number - 1)) },
            "participant": [{ "individual": reference("Practitioner", practitioner_id(number)) }],
            "period": {
                "start": format!("2026-11-{number:02}T14:00:00Z"),
                "end": format!("2026-11-{number:02}T14:30:00Z"),
            },
        });
        add(store, "Encounter", &format!("encounter-{number}"), encounter);
    }
}

fn observations(store: &mut Store) {
    // Category, LOINC code, name, value, unit.
    let measured = [
        ("vital-signs", "8867-4", "Heart rate", 72.0, "/min"),
        ("laboratory", "2345-7", "Glucose", 96.0, "mg/dL"),
        ("vital-signs", "8310-5", "Body temperature", 36.8, "Cel"),
        ("laboratory", "718-7", "Hemoglobin", 13.9, "g/dL"),
    ];
    for number in 1..=12_usize {
        let Some((category, code, name, value, unit)) = measured.get((number - 1) % measured.len()) else { continue };
        // Four for each of the first three patients.
        let patient = (number - 1) / measured.len();
        let observation = json!({
            "status": "final",
            "category": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category,
            }] }],
            "code": { "coding": [{ "system": "http://loinc.org", "code": code, "display": name }], "text": name },
            "subject": reference("Patient", patient_id(patient)),
            "encounter": reference("Encounter", &format!("encounter-{}", patient + 1)),
            "effectiveDateTime": format!("2026-11-{:02}T14:1{}:00Z", patient + 1, (number - 1) % 4),
            "valueQuantity": { "value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit },
        });
        add(store, "Observation", &format!("observation-{number}"), observation);
    }
}

fn documents(store: &mut Store, base: &str) {
    add(store, "Binary", "binary-1", json!({ "contentType": "text/plain", "data": "QWxsIGlzIHdlbGwuCg==" }));
    let document = json!({
        "status": "current",
        "type": { "coding": [{ "system": "http://loinc.org", "code": "11506-3", "display": "Progress note" }] },
        "category": [{ "coding": [{ "system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
                                    "code": "clinical-note" }] }],
        "subject": reference("Patient", FIRST_PATIENT),
        "date": "2026-11-01T14:40:00Z",
        "content": [{ "attachment": { "contentType": "text/plain", "url": format!("{base}/Binary/binary-1") } }],
    });
    add(store, "DocumentReference", "document-1", document);
}

fn patient_id(index: usize) -> &'static str {
    PATIENTS.get(index % PATIENTS.len()).map_or(FIRST_PATIENT, |patient| patient.0)
}

fn practitioner_id(index: usize) -> &'static str {
    PRACTITIONERS.get(index % PRACTITIONERS.len()).map_or(PRACTITIONER, |practitioner| practitioner.0)
}

fn reference(kind: &str, id: &str) -> Value {
    json!({ "reference": format!("{kind}/{id}") })
}

fn add(store: &mut Store, kind: &'static str, id: &str, resource: Value) {
    let at = Timestamp::from_second(LAST_CHANGE).unwrap_or(Timestamp::UNIX_EPOCH);
    let resource: Map<String, Value> = match resource {
        Value::Object(resource) => resource,
        _ => Map::new(),
    };
    // A fresh store has room for the data set; a test counts it.
    let _ = store.put(kind, id, "PUT", &resource, at);
}
