package examples

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/http"
	"net/mail"
	"strconv"
	"strings"

	"valence/internal/test/servers"
)

// startMail starts a mail server.
func (s *Systems) startMail(name string, port int, kind string) error {
	if kind == "imap" {
		mailbox, err := servers.NewDovecot(port, "", "")
		if err != nil {
			return err
		}
		s.mailboxes[name], s.Addresses[name] = mailbox, strconv.Itoa(mailbox.Port)
		s.closers = append(s.closers, func() { _ = mailbox.Close() }) // its data is in a temporary folder
		return nil
	}
	server, err := servers.StartSMTP(servers.SMTPOptions{Port: port, Accept: func(m servers.Mail) { s.record(mailCall(name, m)) }})
	if err != nil {
		return err
	}
	s.closers, s.Addresses[name] = append(s.closers, server.Close), strconv.Itoa(server.Port)
	return nil
}

// Append adds a message to the mailbox on a system.
func (s *Systems) Append(system string, message []byte) error {
	mailbox := s.mailboxes[system]
	if mailbox == nil {
		return fmt.Errorf("the system %s has no mailbox", system)
	}
	return mailbox.Append(bytes.ReplaceAll(message, []byte("\n"), []byte("\r\n")))
}

// mailCall describes a received message, which has one part, as a call: "system
// MAIL recipients" with the subject and the text.
func mailCall(system string, m servers.Mail) ReceivedCall {
	c := ReceivedCall{To: system + " MAIL " + strings.Join(m.To, ","), Status: http.StatusOK, Body: m.Content}
	received, err := mail.ReadMessage(bytes.NewReader(m.Content))
	if err != nil {
		return c
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(received.Header.Get("Subject"))
	if err != nil {
		return c
	}
	text, err := io.ReadAll(quotedprintable.NewReader(received.Body))
	if err != nil {
		return c
	}
	body, err := json.Marshal(struct {
		Subject string `json:"subject"`
		Text    string `json:"text"`
	}{subject, strings.TrimSpace(string(text))})
	if err != nil {
		return c
	}
	c.Header, c.Body = http.Header(received.Header), body
	return c
}
