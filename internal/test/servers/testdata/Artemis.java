import org.apache.activemq.artemis.core.config.impl.SecurityConfiguration;
import org.apache.activemq.artemis.core.server.embedded.EmbeddedActiveMQ;
import org.apache.activemq.artemis.spi.core.security.ActiveMQJAASSecurityManager;
import org.apache.activemq.artemis.spi.core.security.jaas.InVMLoginModule;

/** Runs a broker with the configuration args[0] and the user args[1] with the password args[2]. */
public class Artemis {
    public static void main(String[] args) throws Exception {
        SecurityConfiguration users = new SecurityConfiguration();
        users.addUser(args[1], args[2]);
        users.addRole(args[1], "all");
        EmbeddedActiveMQ broker = new EmbeddedActiveMQ();
        broker.setConfigResourcePath("file:" + args[0]);
        broker.setSecurityManager(new ActiveMQJAASSecurityManager(InVMLoginModule.class.getName(), users));
        broker.start();
    }
}
