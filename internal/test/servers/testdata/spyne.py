"""Serves SOAP with spyne: `server.py PORT`."""
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

from spyne import Application, AnyXml, Array, Boolean, ComplexModel, DateTime, Decimal, Enum, Fault, Integer, Mandatory, ServiceBase, Unicode, XmlAttribute, XmlData, rpc
from spyne.protocol.soap import Soap11, Soap12
from spyne.server.wsgi import WsgiApplication
from spyne.util.wsgi_wrapper import WsgiMounter

NS = "urn:orders"
Currency = Enum("EUR", "USD", type_name="Currency")


class Line(ComplexModel):
    __namespace__ = "urn:types"
    no = XmlAttribute(Integer, use="required")
    sku = Unicode(min_occurs=1, nillable=False)
    price = Decimal(min_occurs=1, nillable=False)
    note = Unicode(min_occurs=1, nillable=True)


class Order(ComplexModel):
    __namespace__ = "urn:types"
    channel = XmlAttribute(Unicode)
    currency = Currency.customize(min_occurs=1, nillable=False)
    iban = Unicode(xml_choice_group="payment")
    card = Unicode(xml_choice_group="payment")
    line = Line.customize(min_occurs=1, max_occurs="unbounded")


class Receipt(ComplexModel):
    __namespace__ = "urn:types"
    kind = XmlAttribute(Unicode)
    total = Decimal(min_occurs=1, nillable=False)
    note = Unicode(min_occurs=1, nillable=True)
    currency = Currency.customize(min_occurs=1, nillable=False)
    paid = Boolean
    line = Line.customize(min_occurs=0, max_occurs="unbounded")


class Session(ComplexModel):
    __namespace__ = NS
    token = Unicode(min_occurs=1)


class InvalidOrder(Fault):
    __namespace__ = NS

    def __init__(self, field):
        super().__init__("Client.InvalidOrder", "the total is negative", detail={"field": field})


class Orders(ServiceBase):
    __in_header__ = Session

    @rpc(Order.customize(min_occurs=1, nillable=False), _returns=Receipt.customize(min_occurs=1), _throws=InvalidOrder)
    def place(ctx, order):
        total = sum(l.price for l in order.line)
        if total < 0:
            raise InvalidOrder("price")
        if total > 1000000:
            raise Fault("Server", "too much")
        token = ctx.in_header.token if ctx.in_header else "none"
        notes = [l.note for l in order.line if l.note]
        return Receipt(kind="%s %s" % (order.iban or order.card, token), total=total, note=notes[0] if notes else None, currency=order.currency, paid=True, line=order.line)

    @rpc(Unicode, _returns=Unicode, _body_style="bare", _in_message_name="Echo", _out_message_name="EchoResponse")
    def echo(ctx, text):
        return text


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def app(name, protocol):
    return WsgiApplication(Application([Orders], NS, name=name, in_protocol=protocol(validator="lxml"), out_protocol=protocol()))


server = make_server("127.0.0.1", int(sys.argv[1]), WsgiMounter({"soap11": app("Orders", Soap11), "soap12": app("Orders", Soap12)}), handler_class=Quiet)
print("ready", flush=True)
server.serve_forever()
