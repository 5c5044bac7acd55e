package soap;

import jakarta.jws.*;
import jakarta.jws.soap.SOAPBinding;
import jakarta.xml.bind.annotation.*;
import jakarta.xml.ws.*;
import jakarta.xml.ws.soap.MTOM;
import java.math.BigDecimal;
import java.util.*;
import javax.security.auth.callback.*;
import org.apache.cxf.jaxws.EndpointImpl;
import org.apache.cxf.ws.security.wss4j.WSS4JInInterceptor;
import org.apache.wss4j.common.ext.WSPasswordCallback;

/** Serves SOAP on a port: `Cxf PORT USER PASSWORD`. */
public class Cxf {
    static final String NS = "urn:orders";

    @XmlEnum public enum Currency { EUR, USD }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlType(namespace = NS)
    public static class Line {
        @XmlAttribute(required = true) public int no;
        @XmlElement(required = true) public String sku;
        @XmlElement(required = true) public BigDecimal price;
        @XmlElement(nillable = true, required = true) public String note;
    }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlType(namespace = NS)
    public static class Card { @XmlValue public String number; @XmlAttribute public String expires; }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlType(namespace = NS) @XmlSeeAlso(Rush.class)
    public static class Order {
        @XmlAttribute public String channel;
        @XmlElement(required = true) public Currency currency;
        @XmlElements({@XmlElement(name = "iban", type = String.class, required = true), @XmlElement(name = "card", type = Card.class, required = true)}) public Object payment;
        @XmlElement(name = "line", required = true) public List<Line> lines = new ArrayList<>();
    }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlType(namespace = NS)
    public static class Rush extends Order { @XmlElement(required = true) public int hours; }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlType(namespace = NS)
    public static class Receipt {
        @XmlAttribute public String kind;
        @XmlElement(required = true) public BigDecimal total;
        @XmlElement(nillable = true, required = true) public String note;
        @XmlElement(required = true) public Currency currency;
        @XmlElement(required = true) public String payment;
        @XmlElement(name = "line") public List<Line> lines;
    }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlType(namespace = NS)
    public static class Reason { public String field; public int limit; }

    @WebFault(name = "InvalidOrder", targetNamespace = NS)
    public static class InvalidOrder extends Exception {
        private final Reason reason;
        public InvalidOrder(String message, Reason reason) { super(message); this.reason = reason; }
        public Reason getFaultInfo() { return reason; }
    }

    static Receipt receipt(Order o) throws InvalidOrder {
        Receipt r = new Receipt();
        r.total = BigDecimal.ZERO;
        r.lines = o.lines;
        for (Line l : o.lines) {
            r.total = r.total.add(l.price);
            if (l.note != null) r.note = l.note;
        }
        if (r.total.signum() < 0) {
            Reason why = new Reason();
            why.field = "price";
            why.limit = 7;
            throw new InvalidOrder("the total is negative", why);
        }
        if (r.total.compareTo(new BigDecimal(1000000)) > 0) throw new IllegalStateException("too much");
        r.currency = o.currency;
        r.kind = o instanceof Rush rush ? "rush " + rush.hours : "plain";
        r.payment = o.payment instanceof Card c ? "card " + c.number + " " + c.expires : "iban " + o.payment;
        return r;
    }

    @WebService(targetNamespace = NS, serviceName = "Orders", portName = "Orders", name = "OrdersPort")
    public static class Wrapped {
        @WebMethod public @WebResult(name = "receipt") Receipt place(@WebParam(name = "order") @XmlElement(required = true) Order order) throws InvalidOrder { return receipt(order); }
        @WebMethod @Oneway public void archive(@WebParam(name = "id") String id) { }
    }

    @WebService(targetNamespace = NS, serviceName = "Orders", portName = "Orders", name = "OrdersPort") @BindingType(jakarta.xml.ws.soap.SOAPBinding.SOAP12HTTP_BINDING)
    public static class Wrapped12 {
        @WebMethod public @WebResult(name = "receipt") Receipt place(@WebParam(name = "order") @XmlElement(required = true) Order order) throws InvalidOrder { return receipt(order); }
    }

    @WebService(targetNamespace = NS, serviceName = "Orders", portName = "Orders", name = "OrdersPort") @SOAPBinding(parameterStyle = SOAPBinding.ParameterStyle.BARE)
    public static class Bare {
        @WebMethod public @WebResult(name = "Receipt", targetNamespace = NS) Receipt place(@WebParam(name = "Order", targetNamespace = NS) Order order) throws InvalidOrder { return receipt(order); }
    }

    @WebService(targetNamespace = NS, serviceName = "Orders", portName = "Orders", name = "OrdersPort") @SOAPBinding(style = SOAPBinding.Style.RPC)
    public static class Rpc {
        @WebMethod public @WebResult(name = "receipt") Receipt place(@WebParam(name = "order") Order order, @WebParam(name = "copies") int copies) throws InvalidOrder {
            Receipt r = receipt(order);
            r.total = r.total.multiply(new BigDecimal(copies));
            return r;
        }
    }

    @MTOM(threshold = 0) @WebService(targetNamespace = NS, serviceName = "Orders", portName = "Orders", name = "OrdersPort")
    public static class Files {
        @WebMethod public @WebResult(name = "content") byte[] file(@WebParam(name = "size") int size) {
            byte[] out = new byte[size];
            for (int i = 0; i < size; i++) out[i] = (byte) i;
            return out;
        }
    }

    public static void main(String[] args) {
        String at = "http://127.0.0.1:" + args[0];
        Endpoint.publish(at + "/wrapped", new Wrapped());
        Endpoint.publish(at + "/wrapped12", new Wrapped12());
        Endpoint.publish(at + "/bare", new Bare());
        Endpoint.publish(at + "/rpc", new Rpc());
        Endpoint.publish(at + "/files", new Files());
        EndpointImpl secure = (EndpointImpl) Endpoint.publish(at + "/secure", new Wrapped());
        CallbackHandler password = callbacks -> {
            for (Callback c : callbacks) if (c instanceof WSPasswordCallback p && args[1].equals(p.getIdentifier())) p.setPassword(args[2]);
        };
        secure.getServer().getEndpoint().getInInterceptors().add(new WSS4JInInterceptor(new HashMap<>(Map.of("action", "UsernameToken Timestamp", "passwordType", "PasswordDigest", "passwordCallbackRef", password))));
        System.out.println("ready");
    }
}
