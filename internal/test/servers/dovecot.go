package servers

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
)

// Dovecot is an IMAP server. Its user is MailUser.
type Dovecot struct {
	Port int

	dir, cert, key string
	cmd            *exec.Cmd
	done           chan struct{} // closed when cmd has ended
}

// NewDovecot starts a server on a port, 0 for any free one. With a certificate
// and its key it offers STARTTLS. Close stops it.
func NewDovecot(port int, cert, key string) (*Dovecot, error) {
	if _, err := exec.LookPath("dovecot"); err != nil {
		return nil, fmt.Errorf("Dovecot is not installed: run `make setup`: %w", err)
	}
	dir, err := os.MkdirTemp("", "valence-dovecot")
	if err != nil {
		return nil, err
	}
	d := &Dovecot{Port: port, dir: dir, cert: cert, key: key}
	for range 5 { // another program may get the port first
		if port == 0 {
			err = d.choosePort()
		}
		if err == nil {
			err = d.Start()
		}
		if err == nil {
			return d, nil
		}
	}
	return nil, errors.Join(err, d.Close())
}

func (d *Dovecot) choosePort() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.Port = l.Addr().(*net.TCPAddr).Port
	return l.Close()
}

func (d *Dovecot) config() (string, error) {
	self, err := user.Current()
	if err != nil {
		return "", err
	}
	mailUID, mailGID := self.Uid, self.Gid
	users := "default_internal_user = " + self.Username + "\ndefault_login_user = " + self.Username + "\ndefault_internal_group = " + self.Gid + "\nservice anvil {\n chroot =\n}\n"
	if self.Uid == "0" { // Dovecot never reads mail as root
		nobody, err := user.Lookup("nobody")
		if err != nil {
			return "", err
		}
		mailUID, mailGID, users = nobody.Uid, nobody.Gid, ""
	}
	mail := filepath.Join(d.dir, "mail")
	uid, err := strconv.Atoi(mailUID)
	if err != nil {
		return "", err
	}
	gid, err := strconv.Atoi(mailGID)
	if err != nil {
		return "", err
	}
	err = errors.Join(os.Chmod(d.dir, 0o755), os.MkdirAll(mail, 0o700), os.Chown(mail, uid, gid))
	ssl := "ssl = no\n"
	if d.cert != "" {
		ssl = "ssl = yes\nssl_cert = <" + d.cert + "\nssl_key = <" + d.key + "\n"
	}
	return `protocols = imap
listen = 127.0.0.1
base_dir = ` + d.dir + `/run
state_dir = ` + d.dir + `/state
log_path = ` + d.dir + `/log
disable_plaintext_auth = no
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:` + mail + `/%u
mail_max_userip_connections = 1000
` + users + ssl + `service imap-login {
 chroot =
 inet_listener imap {
  port = ` + strconv.Itoa(d.Port) + `
 }
 inet_listener imaps {
  port = 0
 }
}
passdb {
 driver = static
 args = password=` + MailPassword + `
}
userdb {
 driver = static
 args = uid=` + mailUID + ` gid=` + mailGID + ` home=` + mail + `/home-%u
}
`, err
}

// Start starts the server, also after Kill, and waits until it answers.
func (d *Dovecot) Start() error {
	text, err := d.config()
	if err != nil {
		return err
	}
	config := filepath.Join(d.dir, "dovecot.conf")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	d.cmd = exec.Command("dovecot", "-F", "-c", config)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.done = make(chan struct{})
	go func() {
		_ = d.cmd.Wait() // it was stopped, or its log says why
		close(d.done)
	}()
	for deadline := time.Now().Add(readyTimeout); ; {
		if err = d.greets(); err == nil {
			return nil
		}
		select {
		case <-d.done:
			return fmt.Errorf("start Dovecot: it ended: %s", d.log())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("start Dovecot: %w: %s", err, d.log())
		}
	}
}

func (d *Dovecot) greets() error {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(d.Port), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.Contains(line, "Dovecot") {
		err = errors.New("another server has the port")
	}
	return err
}

func (d *Dovecot) log() string {
	text, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(text)
}

// Fill makes the inbox of a user who has none, with n messages.
func (d *Dovecot) Fill(name string, n int, message func(i int) string) error {
	inbox := filepath.Join(d.dir, "mail", name)
	if _, err := os.Stat(inbox); err == nil {
		return fmt.Errorf("fill the inbox of %s: there is one", name)
	}
	owner, err := os.Stat(filepath.Dir(inbox))
	if err != nil {
		return err
	}
	who := owner.Sys().(*syscall.Stat_t)
	for _, dir := range []string{inbox, inbox + "/cur", inbox + "/new", inbox + "/tmp"} {
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, int(who.Uid), int(who.Gid))); err != nil {
			return err
		}
	}
	for i := range n {
		file := fmt.Sprintf("%s/cur/%d.M%dP1.host:2,", inbox, 1767225600+i, i)
		if err := errors.Join(os.WriteFile(file, []byte(message(i)), 0o600), os.Chown(file, int(who.Uid), int(who.Gid))); err != nil {
			return err
		}
	}
	return nil
}

// Append adds a message to the inbox of MailUser.
func (d *Dovecot) Append(message []byte) error {
	c, err := imapclient.DialInsecure(net.JoinHostPort("127.0.0.1", strconv.Itoa(d.Port)), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Login(MailUser, MailPassword).Wait(); err != nil {
		return err
	}
	a := c.Append("INBOX", int64(len(message)), nil)
	_, err = a.Write(message)
	if err := errors.Join(err, a.Close()); err != nil {
		return err
	}
	_, err = a.Wait()
	return err
}

// Stop ends the server and its connections.
func (d *Dovecot) Stop() error {
	if d.cmd == nil || d.cmd.Process == nil {
		return nil
	}
	err := d.cmd.Process.Signal(syscall.SIGTERM)
	<-d.done
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Close stops the server and removes its data.
func (d *Dovecot) Close() error { return errors.Join(d.Stop(), os.RemoveAll(d.dir)) }
