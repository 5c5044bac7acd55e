"""Calls the example soap-front by its WSDL, with passwords as text and as a digest."""
import sys

from zeep import Client
from zeep.exceptions import Fault
from zeep.wsse.username import UsernameToken


def fault(call, **arguments):
    try:
        return "no fault: %s" % call(**arguments)
    except Fault as f:
        entry = f.detail[0] if f.detail is not None and len(f.detail) == 1 else None
        typed = entry is not None and entry.tag == "{urn:example:orders}UnknownOrder"
        return "%s: %s%s" % (f.code, f.message, " (%s)" % client.wsdl.types.deserialize(entry).id if typed else "")


wsdl, digest = sys.argv[1], len(sys.argv) > 2
token = UsernameToken("erp", "demo-erp-password", use_digest=digest)
client = Client(wsdl, wsse=token)
answer = client.service.GetOrder(id="O-7")
order = answer.body
print("from the", answer.header.source)
print(order.customer, [(line.sku, line.quantity) for line in order.line], order.total, order.shipped)
print(client.service.NotifyShipment(id="O-7", tracking="T-1"))
print(fault(client.service.GetOrder, id="O-8"))
print(fault(client.service.CreateOrder, customer="Ada", line=[{"sku": "TEA", "quantity": 0}]))
second = client.bind("Orders", "Orders12")
print(second.CreateOrder(customer="Ada", line=[{"sku": "TEA", "quantity": 2}]))
print(fault(second.GetOrder, id="O-8"))
print(fault(Client(wsdl, wsse=UsernameToken("erp", "guessed", use_digest=digest)).service.GetOrder, id="O-7"))
