"""A verdict as JUnit XML, which CI services read: a suite for each implementation, a case for each law on a cell and
dtype."""

from xml.etree import ElementTree as xml

from bpttcheck.printable import printable
from bpttcheck.running.results import unproved
from bpttcheck.running.run import Run

_ELEMENTS = {"failed": "failure", "unsure": "failure", "error": "error"}
_PASSED = "passed"


def to_junit(run: Run) -> str:
    """All results; laws that were not tested, and known failures, are skipped with their reason.

    A suite without a proof has an error, so that it does not look green; so have a run that did not end, and a target
    that could not be tested.
    """
    suites, results = xml.Element("testsuites", name="bpttcheck"), run.results
    wrong = ["the run did not end"] * run.interrupted + [said for record in run.targets for said in record.errors]
    if wrong:
        counts = {"tests": str(len(wrong)), "errors": str(len(wrong)), "failures": "0", "skipped": "0"}
        suite = xml.SubElement(suites, "testsuite", {"name": "the run", **counts})
        for sentence in wrong:
            case = xml.SubElement(suite, "testcase", classname="the run", name="is-whole")
            xml.SubElement(case, "error", message=sentence)
    for subject in dict.fromkeys(result.subject for result in results):
        own = [result for result in results if result.subject == subject]
        in_vain = unproved(own)
        elements = ["error"] * bool(in_vain) + [
            _ELEMENTS.get(result.status, "skipped") for result in own if result.status != _PASSED
        ]
        counts = {f"{kind}s" if kind != "skipped" else kind: str(elements.count(kind)) for kind in
                  ("failure", "error", "skipped")}  # fmt: skip
        suite = xml.SubElement(suites, "testsuite", {"name": subject, "tests": str(len(own) + bool(in_vain)), **counts})
        if in_vain:
            case = xml.SubElement(suite, "testcase", classname=subject, name="something-proved")
            xml.SubElement(case, "error", message="; ".join(in_vain))
        for result in own:
            place = f"{subject}.{result.cell}.{result.dtype}"
            case = xml.SubElement(suite, "testcase", classname=place, name=result.law, time=f"{result.seconds:.3f}")
            if result.examples + result.vacuous:
                xml.SubElement(case, "system-out").text = f"proved something in {result.proved} cases"
            if result.status != _PASSED:
                said = f"{result.status}: {result.reason}"
                shown = xml.SubElement(case, _ELEMENTS.get(result.status, "skipped"), message=said)
                shown.text = f"{said}\n{result.heading}: {result.case}\nseed {result.seed}" if result.case else said
    for element in suites.iter():
        element.text = element.text and printable(element.text)
        element.attrib = {key: printable(value) for key, value in element.attrib.items()}
    xml.indent(suites)
    return xml.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
