package dev.hearthgate.hapi;

import java.nio.charset.StandardCharsets;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Random;
import org.hl7.fhir.r4.model.Address;
import org.hl7.fhir.r4.model.Appointment;
import org.hl7.fhir.r4.model.Attachment;
import org.hl7.fhir.r4.model.Binary;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.CodeableConcept;
import org.hl7.fhir.r4.model.Coding;
import org.hl7.fhir.r4.model.Condition;
import org.hl7.fhir.r4.model.DateTimeType;
import org.hl7.fhir.r4.model.DocumentReference;
import org.hl7.fhir.r4.model.Encounter;
import org.hl7.fhir.r4.model.Enumerations.AdministrativeGender;
import org.hl7.fhir.r4.model.Enumerations.DocumentReferenceStatus;
import org.hl7.fhir.r4.model.Group;
import org.hl7.fhir.r4.model.Location;
import org.hl7.fhir.r4.model.Observation;
import org.hl7.fhir.r4.model.Organization;
import org.hl7.fhir.r4.model.Patient;
import org.hl7.fhir.r4.model.Practitioner;
import org.hl7.fhir.r4.model.Quantity;
import org.hl7.fhir.r4.model.Reference;
import org.hl7.fhir.r4.model.Resource;

/**
 * A clinic's synthetic records, the same at every start. Some lines cross between patients on purpose: an observation that
 * another patient made or that is also about another one, an appointment of two, a group. A gateway that holds an app to
 * one patient must cut exactly there.
 */
final class Clinic {
    private static final int PATIENTS = 240;
    /** The IDs under which the simulated EHR's users know the first two. */
    private static final String[] KNOWN = {"erXuFYUfucBZaryVksYEcMg3", "eq081-VQEgP8drUUqCWzHfw3"};

    private static final String[] FAMILIES =
            {"Lopez", "Lin", "Powell", "Davis", "Ross", "Roberts", "Nguyen", "O'Neill", "Müller", "Okafor"};
    private static final String[] GIVEN = {"Camila", "Derrick", "Desiree", "Elijah", "Linda", "Minh", "Siobhán", "Jürgen"};
    /** LOINC code, what it is, its category, its unit. */
    private static final String[][] MEASURED = {
        {"8867-4", "Heart rate", "vital-signs", "/min"},
        {"8310-5", "Body temperature", "vital-signs", "Cel"},
        {"29463-7", "Body weight", "vital-signs", "kg"},
        {"2339-0", "Glucose", "laboratory", "mg/dL"},
        {"718-7", "Hemoglobin", "laboratory", "g/dL"},
        {"72166-2", "Cigarettes a day", "social-history", "1"},
    };
    private static final String CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category";

    private final Random random = new Random(42);
    private final String base;
    private final List<Bundle> transactions = new ArrayList<>();
    private Bundle current;

    Clinic(String base) {
        this.base = base;
    }

    /** All of it, in an order in which each reference leads to what is there already. */
    List<Bundle> transactions() {
        begin();
        add(new Organization().setName("Hearth Family Clinic"), "clinic");
        for (int number = 1; number <= 3; number++) {
            add(new Location().setName("Room " + number).setManagingOrganization(to("Organization", "clinic")), "room-" + number);
        }
        for (int number = 1; number <= 8; number++) {
            Practitioner practitioner = new Practitioner();
            practitioner.addName().setFamily(pick(FAMILIES)).addGiven(pick(GIVEN));
            practitioner.addIdentifier().setSystem("http://hl7.org/fhir/sid/us-npi").setValue("100000000" + number);
            add(practitioner, "practitioner-" + number);
        }
        for (int number = 0; number < PATIENTS; number++) {
            add(patient(number), patientId(number));
        }
        Group group = new Group().setType(Group.GroupType.PERSON).setActual(true).setName("Everybody under ten");
        for (int number = 0; number < 10; number++) {
            group.addMember().setEntity(to("Patient", patientId(number)));
        }
        add(group, "group-1");
        for (int number = 0; number < PATIENTS; number++) {
            if (number % 40 == 0) {
                begin();
            }
            records(number);
        }
        return transactions;
    }

    private void begin() {
        current = new Bundle().setType(Bundle.BundleType.TRANSACTION);
        transactions.add(current);
    }

    private static String patientId(int number) {
        return number < KNOWN.length ? KNOWN[number] : "patient-" + number;
    }

    private Patient patient(int number) {
        Patient patient = new Patient();
        patient.setActive(true);
        patient.addIdentifier().setSystem("urn:oid:1.2.36.146.595.217.0.1").setValue(Integer.toString(203_700 + number));
        patient.addName().setFamily(pick(FAMILIES)).addGiven(pick(GIVEN));
        patient.setGender(random.nextBoolean() ? AdministrativeGender.FEMALE : AdministrativeGender.MALE);
        patient.setBirthDate(day(LocalDate.of(1940, 1, 1).plusDays(random.nextInt(29_000))));
        patient.addAddress(new Address().setCity("Madison").setState("WI"));
        patient.addGeneralPractitioner(practitioner());
        patient.setManagingOrganization(to("Organization", "clinic"));
        return patient;
    }

    private void records(int number) {
        Reference patient = to("Patient", patientId(number));
        Reference neighbour = to("Patient", patientId((number + 1) % PATIENTS));
        List<Reference> encounters = new ArrayList<>();
        for (int index = 0; index < 1 + random.nextInt(3); index++) {
            Encounter encounter = new Encounter();
            encounter.setStatus(Encounter.EncounterStatus.FINISHED);
            encounter.setClass_(new Coding("http://terminology.hl7.org/CodeSystem/v3-ActCode", random.nextBoolean() ? "AMB" : "IMP", null));
            encounter.setSubject(patient);
            encounter.addParticipant().setIndividual(practitioner());
            encounter.addLocation().setLocation(to("Location", "room-" + (1 + random.nextInt(3))));
            encounter.getPeriod().setStart(moment(number, index));
            encounters.add(add(encounter, "encounter-" + number + "-" + index));
        }
        // The two whose records are read most have many, so that their searches take several pages.
        int observations = number < KNOWN.length ? 60 : 4 + random.nextInt(5);
        for (int index = 0; index < observations; index++) {
            String[] measured = MEASURED[random.nextInt(MEASURED.length)];
            Observation observation = new Observation();
            observation.setStatus(Observation.ObservationStatus.FINAL);
            observation.addCategory(new CodeableConcept(new Coding(CATEGORIES, measured[2], null)));
            observation.setCode(new CodeableConcept(new Coding("http://loinc.org", measured[0], measured[1])));
            observation.setSubject(patient);
            observation.setEncounter(encounters.get(random.nextInt(encounters.size())));
            observation.addPerformer(index % 7 == 3 ? neighbour : practitioner());
            if (index % 7 == 5) {
                observation.addFocus(neighbour);
            }
            observation.setEffective(new DateTimeType(moment(number, index)));
            observation.setValue(new Quantity().setValue(40 + random.nextInt(100)).setUnit(measured[3]));
            add(observation, "observation-" + number + "-" + index);
        }
        Condition condition = new Condition();
        condition.setSubject(patient);
        condition.setEncounter(encounters.get(0));
        condition.setCode(new CodeableConcept(new Coding("http://snomed.info/sct", random.nextBoolean() ? "38341003" : "44054006", null)));
        condition.addCategory(new CodeableConcept(new Coding(
                "http://terminology.hl7.org/CodeSystem/condition-category",
                random.nextBoolean() ? "problem-list-item" : "encounter-diagnosis",
                null)));
        add(condition, "condition-" + number);
        Appointment appointment = new Appointment();
        appointment.setStatus(Appointment.AppointmentStatus.BOOKED);
        appointment.setStart(moment(number, 40)).setEnd(moment(number, 41));
        appointment.addParticipant().setActor(patient).setStatus(Appointment.ParticipationStatus.ACCEPTED);
        appointment.addParticipant().setActor(practitioner()).setStatus(Appointment.ParticipationStatus.ACCEPTED);
        if (number % 5 == 0) {
            appointment.addParticipant().setActor(neighbour).setStatus(Appointment.ParticipationStatus.ACCEPTED);
        }
        add(appointment, "appointment-" + number);
        Binary binary = new Binary();
        binary.setContentType("text/plain");
        binary.setData(("Dear colleague, patient number " + number + " is well.").getBytes(StandardCharsets.UTF_8));
        binary.setSecurityContext(patient);
        add(binary, "letter-" + number);
        DocumentReference letter = new DocumentReference();
        letter.setStatus(DocumentReferenceStatus.CURRENT);
        letter.setSubject(patient);
        letter.addAuthor(number % 6 == 1 ? neighbour : practitioner());
        letter.setType(new CodeableConcept(new Coding("http://loinc.org", "34133-9", "Summary of episode note")));
        letter.getContext().addEncounter(encounters.get(0));
        // Absolute, as EHRs write them: an address that only the gateway may show.
        letter.addContent().setAttachment(new Attachment().setContentType("text/plain").setUrl(base + "/Binary/letter-" + number));
        add(letter, "document-" + number);
    }

    private Reference practitioner() {
        return to("Practitioner", "practitioner-" + (1 + random.nextInt(8)));
    }

    private static Reference to(String type, String id) {
        return new Reference(type + "/" + id);
    }

    private Reference add(Resource resource, String id) {
        resource.setId(id);
        String place = resource.fhirType() + "/" + id;
        current.addEntry()
                .setFullUrl(base + "/" + place)
                .setResource(resource)
                .getRequest()
                .setMethod(Bundle.HTTPVerb.PUT)
                .setUrl(place);
        return new Reference(place);
    }

    private String pick(String[] from) {
        return from[random.nextInt(from.length)];
    }

    private static Date day(LocalDate date) {
        return java.sql.Date.valueOf(date);
    }

    private static Date moment(int patient, int hours) {
        return new Date(1_799_049_600_000L + patient * 86_400_000L + hours * 3_600_000L);
    }
}
