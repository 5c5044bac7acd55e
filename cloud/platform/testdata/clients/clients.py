"""Drives a control plane with two clients of the public API. Only the base URL,
the account and the credentials are ours. Usage: clients.py URL ACCOUNT USER TOKEN ATOM"""

import sys

from boomi import Boomi, models
from pyboomi_platform import BoomiPlatformClient
from pyboomi_platform.exceptions import BoomiAPIError

url, account, user, token, atom = sys.argv[1:]
base = url + "/api/rest/v1"


def check(what, ok, seen=None):
    if not ok:
        sys.exit("%s: %r" % (what, seen))
    print("ok", what)


def equals(prop, value):
    return {"QueryFilter": {"expression": {"operator": "EQUALS", "property": prop, "argument": [value]}}}


def sdk():
    """The generated SDK: typed objects."""
    api = Boomi(account_id=account, username=user, password=token, base_url=base + "/" + account, timeout=20000)
    made = api.environment.create_environment(models.Environment(name="from the SDK", classification="TEST"))
    check("sdk: create", made.id_ and made.classification == "TEST", made)
    got = api.environment.get_environment(made.id_)
    check("sdk: get", got.name == "from the SDK", got)
    changed = api.environment.update_environment(made.id_, models.Environment(id_=made.id_, name="renamed"))
    check("sdk: update", changed.name == "renamed", changed)
    expression = models.EnvironmentSimpleExpression(operator="EQUALS", property="name", argument=["RENAMED"])
    query = models.EnvironmentQueryConfig(query_filter=models.EnvironmentQueryConfigQueryFilter(expression=expression))
    found = api.environment.query_environment(query)
    check("sdk: query", found.number_of_results == 1 and found.result[0].id_ == made.id_, found)
    api.environment.delete_environment(made.id_)

    atoms = api.atom.query_atom()
    check("sdk: atoms", [a.name for a in atoms.result] == ["edge-01"] and atoms.result[0].type_ == "ATOM", atoms)
    processes = api.process.query_process()
    process = [p for p in processes.result if p.name == "fetch-order"][0]
    properties = models.ExecutionRequestDynamicProcessProperties(
        dynamic_process_property=[models.DynamicProcessProperty(name="recordId", value="4711")])
    request = api.execution_request.create_execution_request(
        models.ExecutionRequest(dynamic_process_properties=properties, process_properties=None, process_id=process.id_, atom_id=atom))
    check("sdk: execution request", request.request_id.startswith("executionrecord-"), request)
    check("sdk: no record yet", api.execution_record.async_get_execution_record(request.request_id) is None)
    print("REPORT", request.request_id, flush=True)
    sys.stdin.readline()
    record = api.execution_record.async_get_execution_record(request.request_id)
    check("sdk: record", record.status == "COMPLETE" and record.process_id == process.id_, record)
    counts = (record.inbound_document_count, record.outbound_document_count, record.inbound_error_document_count)
    check("sdk: document counts", counts == (1, 2, 0), record)
    both = [models.ProcessSchedulesSimpleExpression(operator="EQUALS", property="atomId", argument=[atom])]
    both.append(models.ProcessSchedulesSimpleExpression(operator="EQUALS", property="processId", argument=[[p for p in processes.result if p.name == "nightly"][0].id_]))
    group = models.ProcessSchedulesGroupingExpression(operator="and", nested_expression=both)
    config = models.ProcessSchedulesQueryConfig(query_filter=models.ProcessSchedulesQueryConfigQueryFilter(expression=group))
    found = api.process_schedules.query_process_schedules(config)
    check("sdk: schedules", found.number_of_results == 1 and found.result[0].schedule[0].hours == "2-4", found)
    state = api.process_schedule_status.get_process_schedule_status(found.result[0].id_)
    check("sdk: schedule status", state.enabled is True, state)
    state.enabled = False
    state = api.process_schedule_status.update_process_schedule_status(state.id_, state)
    check("sdk: schedule off", state.enabled is False, state)
    token_ = api.installer_token.create_installer_token(models.InstallerToken(install_type="ATOM", duration_minutes=60))
    check("sdk: installer token", token_.token and token_.duration_minutes == 60, token_)


def client():
    """The hand-written client: dictionaries."""
    api = BoomiPlatformClient(account_id=account, username=user, api_token=token, base_url=base, timeout=20, max_retries=1)
    made = api.environment.create_environment("from the client", "PROD")
    check("client: create", made["@type"] == "Environment", made)
    attached = api.environment.query_environment_atom_attachment(equals("atomId", atom))
    check("client: attachment", attached["numberOfResults"] == 1, attached)
    process = api.process_execution.query_process(equals("name", "fetch-order"))["result"][0]["id"]
    package = api.components.create_packaged_component(process, "7.0.0", notes="from the client")
    deployed = api.deployment.create_deployed_package(package["packageId"], attached["result"][0]["environmentId"], "RUNNING")
    check("client: deployment", deployed["active"] is True and deployed["packageVersion"] == "7.0.0", deployed)
    active = api.deployment.query_deployed_packages(equals("packageId", package["packageId"]))
    check("client: deployments", active["result"][0]["deploymentId"] == deployed["deploymentId"], active)
    api.deployed_process.change_listener_status(containerId=atom, action="pause_all")
    asked = api.deployed_process.query_listener_status(equals("containerId", atom))
    states = api.deployed_process.get_listener_status_by_token(asked["asyncToken"]["token"])
    check("client: listeners", states["responseStatusCode"] == 200, states)
    values = api.environment.update_environment_extensions(
        attached["result"][0]["environmentId"], partial=True, properties={"property": [{"name": "SHOP_URL", "value": "https://shop"}]})
    check("client: extensions", values["properties"]["property"][0]["value"] == "https://shop", values)
    records = api.execution_statistics.query_execution_record(equals("atomId", atom))
    check("client: records", records["numberOfResults"] >= 1, records)
    bulk = api.environment.get_environment_bulk([made["id"], "nothing"])
    check("client: bulk", [r["statusCode"] for r in bulk["response"]] == [200, 404], bulk)
    check("client: delete", api.environment.delete_environment(made["id"])["content"] == b"")
    try:
        api.environment.get_environment(made["id"])
        sys.exit("client: a deleted environment is there")
    except BoomiAPIError as e:
        check("client: error", "404" in str(e) and "there is no environment" in str(e), e)


sdk()
client()
