package crash

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"testing"

	"valence/internal/test/servers"
)

const largeMailProject = `
process: forward
retention: { documents: 0d }
retry: { max_attempts: 500, backoff: 20ms..200ms }
subscribe: { connection: inbox, folder: INBOX, idle: true, every: 1s }
steps:
  - call: mail.send
    with:
      from: shop@example.com
      to: anna@example.com
      subject: ${doc.subject}
      text: ${doc.text}
      attachments: ${doc.attachments}
    timeout: 1m
---
connection: inbox
connector: imap
host: 127.0.0.1
port: IMAP
user: USER
password: PASSWORD
tls: none
max_size: 2GiB
---
connection: mail
connector: smtp
idempotent: natural
host: 127.0.0.1
port: SMTP
user: USER
password: PASSWORD
tls: none
`

// TestLargeAttachmentsPassThroughWithLittleMemory forwards a message with a large
// attachment. The program is killed while it receives the message, and while it
// cannot send it.
func TestLargeAttachmentsPassThroughWithLittleMemory(t *testing.T) {
	inbox, err := servers.NewDovecot(0, "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = inbox.Close() })
	const size = 48 << 20
	var file bytes.Buffer
	_, _ = io.CopyN(&file, rand.NewChaCha8([32]byte{3}), size)
	sum := sha256.Sum256(file.Bytes())
	var text bytes.Buffer
	text.WriteString("From: a@example.com\r\nSubject: scan\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n--b\r\n" +
		"Content-Type: image/png\r\nContent-Disposition: attachment; filename=scan.png\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for file.Len() > 0 {
		text.WriteString(base64.StdEncoding.EncodeToString(file.Next(57)) + "\r\n")
	}
	text.WriteString("--b--\r\n")
	if err := inbox.Append(text.Bytes()); err != nil {
		t.Fatal(err)
	}
	text = bytes.Buffer{}
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	c := &carrier{atom: newAtom(t, "127.0.0.1:1")}
	c.runs(strings.NewReplacer("IMAP", strconv.Itoa(inbox.Port), "SMTP", port, "USER", servers.MailUser, "PASSWORD", servers.MailPassword).Replace(largeMailProject))
	c.start()
	c.until("the attachment is being received", func() bool { _, unfinished := c.blobs(); return len(unfinished) > 0 })
	c.kill()
	c.start()
	idle := c.fact("VmRSS")
	c.until("the message is accepted", func() bool { return len(c.executions("waiting"))+len(c.executions("held")) == 1 })
	grown := c.fact("VmHWM") - idle
	c.kill()
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	server, err := servers.StartSMTP(servers.SMTPOptions{Port: number})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	c.start()
	idle = c.fact("VmRSS")
	c.until("the message is sent", func() bool { return len(server.Mails()) > 0 })
	c.until("no stored file is left", func() bool {
		stored, unfinished := c.blobs()
		return len(stored)+len(unfinished) == 0
	})
	grown = max(grown, c.fact("VmHWM")-idle)
	t.Logf("%d MiB passed: memory grew by %d KiB, from %d KiB", size>>20, grown, idle)
	if grown > 45<<10 {
		t.Errorf("memory grew by %d KiB, want at most %d", grown, 45<<10)
	}
	if n := len(server.Mails()); n != 1 {
		t.Errorf("got %d messages, want 1", n)
	}
	m, err := mail.ReadMessage(bytes.NewReader(server.Mails()[0].Content))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.FileName() != "scan.png" {
			continue
		}
		got := sha256.New()
		n, err := io.Copy(got, base64.NewDecoder(base64.StdEncoding, p))
		if found = true; err != nil || [32]byte(got.Sum(nil)) != sum {
			t.Errorf("got an attachment of %d bytes, %v, want the %d of the file", n, err, size)
		}
	}
	if !found {
		t.Error("the message has no attachment scan.png")
	}
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, c.out.String())
	}
}
