import jakarta.jws.*;
import jakarta.jws.soap.SOAPBinding;
import jakarta.xml.bind.annotation.*;
import jakarta.xml.soap.*;
import jakarta.xml.ws.*;
import jakarta.xml.ws.soap.SOAPFaultException;
import java.math.BigDecimal;
import java.net.URL;
import java.util.*;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import javax.security.auth.callback.*;
import javax.xml.namespace.QName;
import org.apache.cxf.endpoint.Client;
import org.apache.cxf.frontend.ClientProxy;
import org.apache.cxf.ws.security.wss4j.WSS4JOutInterceptor;
import org.apache.wss4j.common.ext.WSPasswordCallback;

/** Calls the example soap-front by its WSDL: `Orders WSDL PasswordText|PasswordDigest`. */
public class Orders {
    static final String NS = "urn:example:orders";

    @XmlAccessorType(XmlAccessType.FIELD) @XmlType(namespace = NS, propOrder = {"sku", "quantity"})
    public static class Line {
        @XmlElement(namespace = NS) public String sku;
        @XmlElement(namespace = NS) public int quantity;
    }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlRootElement(name = "GetOrder", namespace = NS)
    public static class GetOrder { @XmlElement(namespace = NS) public String id; }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlRootElement(name = "GetOrderResponse", namespace = NS)
    @XmlType(propOrder = {"id", "customer", "line", "total", "shipped"})
    public static class Order {
        @XmlElement(namespace = NS) public String id, customer;
        @XmlElement(namespace = NS) public List<Line> line;
        @XmlElement(namespace = NS) public BigDecimal total;
        @XmlElement(namespace = NS) public String shipped;
    }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlRootElement(name = "CreateOrder", namespace = NS) @XmlType(propOrder = {"customer", "line"})
    public static class CreateOrder {
        @XmlElement(namespace = NS) public String customer;
        @XmlElement(namespace = NS) public List<Line> line = new ArrayList<>();
    }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlRootElement(name = "CreateOrderResponse", namespace = NS)
    public static class Created { @XmlElement(namespace = NS) public String id; }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlRootElement(name = "NotifyShipment", namespace = NS) @XmlType(propOrder = {"id", "tracking"})
    public static class NotifyShipment { @XmlElement(namespace = NS) public String id, tracking; }

    @XmlAccessorType(XmlAccessType.FIELD) @XmlRootElement(name = "UnknownOrder", namespace = NS)
    public static class UnknownOrder { @XmlElement(namespace = NS) public String id; }

    @WebFault(name = "UnknownOrder", targetNamespace = NS)
    public static class UnknownOrderException extends Exception {
        private final UnknownOrder detail;
        public UnknownOrderException(String message, UnknownOrder detail) { super(message); this.detail = detail; }
        public UnknownOrder getFaultInfo() { return detail; }
    }

    @WebService(name = "Orders", targetNamespace = NS) @SOAPBinding(parameterStyle = SOAPBinding.ParameterStyle.BARE)
    public interface Port {
        @WebMethod(operationName = "GetOrder") @WebResult(name = "GetOrderResponse", targetNamespace = NS, partName = "body")
        Order get(@WebParam(name = "GetOrder", targetNamespace = NS, partName = "body") GetOrder request) throws UnknownOrderException;

        @WebMethod(operationName = "CreateOrder") @WebResult(name = "CreateOrderResponse", targetNamespace = NS, partName = "body")
        Created create(@WebParam(name = "CreateOrder", targetNamespace = NS, partName = "body") CreateOrder request);

        @WebMethod(operationName = "NotifyShipment") @Oneway
        void shipped(@WebParam(name = "NotifyShipment", targetNamespace = NS, partName = "body") NotifyShipment request);
    }

    static Port port(Service service, String name, String kind, String password) {
        Port port = service.getPort(new QName(NS, name), Port.class);
        Client client = ClientProxy.getClient(port);
        CallbackHandler secret = callbacks -> {
            for (Callback c : callbacks) ((WSPasswordCallback) c).setPassword(password);
        };
        client.getOutInterceptors().add(new WSS4JOutInterceptor(new HashMap<>(Map.of("action", "UsernameToken Timestamp", "user", "erp", "passwordType", kind, "passwordCallbackRef", secret))));
        return port;
    }

    static GetOrder order(String id) {
        GetOrder request = new GetOrder();
        request.id = id;
        return request;
    }

    static CreateOrder lines(int quantity) {
        CreateOrder request = new CreateOrder();
        request.customer = "Ada";
        Line line = new Line();
        line.sku = "TEA";
        line.quantity = quantity;
        request.line.add(line);
        return request;
    }

    static String fault(Callable<?> call) throws Exception {
        try {
            return "no fault: " + call.call();
        } catch (UnknownOrderException e) {
            return "UnknownOrder " + e.getFaultInfo().id + ": " + e.getMessage();
        } catch (SOAPFaultException e) {
            return text(e.getFault());
        }
    }

    static String text(SOAPFault f) {
        boolean old = f.getNamespaceURI().equals(SOAPConstants.URI_NS_SOAP_1_1_ENVELOPE); // its faults have no subcodes
        Iterator<QName> codes = old ? Collections.emptyIterator() : f.getFaultSubcodes();
        return f.getFaultCodeAsQName().getLocalPart() + (codes.hasNext() ? " " + codes.next().getLocalPart() : "") + ": " + f.getFaultString();
    }

    public static void main(String[] args) throws Exception {
        String kind = args[1];
        Service service = Service.create(new URL(args[0]), new QName(NS, "Orders"));
        for (String name : List.of("Orders11", "Orders12")) {
            Port port = port(service, name, kind, "demo-erp-password");
            Order order = port.get(order("O-7"));
            System.out.println(order.customer + " " + order.line.stream().map(l -> l.sku + " " + l.quantity).collect(Collectors.joining()) + " " + order.total + " " + order.shipped);
            System.out.println(port.create(lines(2)).id);
            System.out.println(fault(() -> port.get(order("O-8"))));
            System.out.println(fault(() -> port.create(lines(0))));
            NotifyShipment notice = new NotifyShipment();
            notice.id = "O-7";
            notice.tracking = name;
            port.shipped(notice);
            System.out.println(fault(() -> port(service, name, kind, "guessed").get(order("O-7"))));
        }
        System.exit(0); // the client leaves threads
    }
}
