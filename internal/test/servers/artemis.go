package servers

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Artemis is an ActiveMQ Artemis broker with the user ArtemisUser, who may use
// every address but those that begin with `forbidden.`. Addresses that begin with
// `missing.` do not exist, and those that begin with `small.` hold few messages;
// others are created when they are used.
type Artemis struct {
	Port int

	java, jars string
	process
}

// The user of an Artemis broker.
const (
	ArtemisUser     = "valence"
	ArtemisPassword = "not-in-any-message"
)

//go:embed testdata/Artemis.java
var artemisMain []byte

// URL returns the URL of the broker, without the user.
func (a *Artemis) URL() string { return "amqp://" + loopback(a.Port) }

// NewArtemis starts a broker. Close stops it. The error is ErrNoJava if this
// machine cannot run it.
func NewArtemis() (*Artemis, error) {
	java, dir, err := jars("artemis")
	if err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("javac"); err != nil {
		return nil, ErrNoJava
	}
	a := &Artemis{java: java, jars: dir}
	if a.dir, err = os.MkdirTemp("", "valence-artemis"); err != nil {
		return nil, err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(a.dir, "Artemis.java"), artemisMain, 0o600), a.Start()); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Start starts the broker, also again after Kill, and waits until it accepts
// connections.
func (a *Artemis) Start() error {
	return a.start(&a.Port, a.command, func(ctx context.Context) error { return dials(ctx, a.Port) })
}

func (a *Artemis) command() (*exec.Cmd, error) {
	config := fmt.Sprintf(`<configuration xmlns="urn:activemq">
  <core xmlns="urn:activemq:core">
    <journal-directory>%[1]s/journal</journal-directory>
    <bindings-directory>%[1]s/bindings</bindings-directory>
    <paging-directory>%[1]s/paging</paging-directory>
    <large-messages-directory>%[1]s/large</large-messages-directory>
    <journal-type>NIO</journal-type>
    <max-disk-usage>100</max-disk-usage>
    <acceptors><acceptor name="amqp">tcp://127.0.0.1:%[2]d?protocols=AMQP</acceptor></acceptors>
    <security-settings>
      <security-setting match="#">
        <permission type="createNonDurableQueue" roles="all"/><permission type="deleteNonDurableQueue" roles="all"/>
        <permission type="createDurableQueue" roles="all"/><permission type="deleteDurableQueue" roles="all"/>
        <permission type="createAddress" roles="all"/><permission type="deleteAddress" roles="all"/>
        <permission type="consume" roles="all"/><permission type="send" roles="all"/><permission type="browse" roles="all"/>
      </security-setting>
      <security-setting match="forbidden.#"><permission type="createAddress" roles="all"/><permission type="createDurableQueue" roles="all"/><permission type="send" roles="nobody"/><permission type="consume" roles="nobody"/></security-setting>
    </security-settings>
    <address-settings>
      <address-setting match="#"><max-delivery-attempts>-1</max-delivery-attempts><auto-delete-queues>false</auto-delete-queues><auto-delete-addresses>false</auto-delete-addresses></address-setting>
      <address-setting match="missing.#"><auto-create-queues>false</auto-create-queues><auto-create-addresses>false</auto-create-addresses></address-setting>
      <address-setting match="small.#"><max-size-bytes>2000</max-size-bytes><address-full-policy>FAIL</address-full-policy></address-setting>
    </address-settings>
  </core>
</configuration>
`, a.dir, a.Port)
	file := filepath.Join(a.dir, "broker.xml")
	cmd := exec.Command(a.java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", filepath.Join(a.jars, "*"), filepath.Join(a.dir, "Artemis.java"), file, ArtemisUser, ArtemisPassword)
	return cmd, os.WriteFile(file, []byte(config), 0o600)
}
