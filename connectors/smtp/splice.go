package smtp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/wneessen/go-mail/smtp"

	"valence/internal/blob"
)

// lineBytes is the content of a line that stands for a stored file, and
// lineLength the length of the lines of Base64 (RFC 2045, 6.8).
const (
	lineBytes  = 48
	lineLength = 76
)

// deliver sends a message with stored files as the client library does, which
// would hold them in memory. Without an error the server has accepted it. After an
// error the connection must be closed: the end of the message was not sent.
func (m *letter) deliver(session *smtp.Client) (response string, err error) {
	from, err := m.GetSender(false)
	if err != nil {
		return "", err
	}
	to, err := m.GetRecipients()
	if err != nil {
		return "", err
	}
	if err := session.Mail(from); err != nil {
		return "", fmt.Errorf("sending MAIL FROM: %w", err)
	}
	for _, address := range to {
		if err := session.Rcpt(address); err != nil {
			return "", fmt.Errorf("sending RCPT TO: %w", err)
		}
	}
	data, err := session.Data()
	if err != nil {
		return "", fmt.Errorf("sending DATA: %w", err)
	}
	if err := m.write(data, streamed); err != nil {
		return "", err
	}
	if err := data.Close(); err != nil {
		return "", fmt.Errorf("closing DATA: %w", err)
	}
	if done, ok := data.(*smtp.DataCloser); ok {
		response = done.ServerResponse()
	}
	return response, nil
}

// write writes the message. file writes a stored file in the place of its line.
func (m *letter) write(w io.Writer, file func(io.Writer, *blob.File) error) error {
	s := &splicer{out: w, files: m.files, file: file}
	_, err := m.WriteTo(s)
	if err == nil {
		_, err = w.Write(s.line)
	}
	return errors.Join(s.err, err)
}

// splicer replaces lines by files.
type splicer struct {
	out   io.Writer
	files map[string]*blob.File
	file  func(io.Writer, *blob.File) error
	line  []byte // its beginning
	err   error
}

// Write implements io.Writer.
func (s *splicer) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 && s.err == nil {
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		s.line = append(s.line, line...)
		if b = rest; !ended {
			break
		}
		if f := s.files[string(bytes.TrimSuffix(s.line, []byte("\r")))]; f != nil {
			s.err = s.file(s.out, f)
		} else {
			_, s.err = s.out.Write(append(s.line, '\n'))
		}
		s.line = s.line[:0]
	}
	if s.err != nil {
		return 0, s.err
	}
	return n, nil
}

// streamed writes a file as lines of Base64.
func streamed(w io.Writer, f *blob.File) error {
	content, err := f.Open()
	if err != nil {
		return err
	}
	lines := &lineWriter{out: w}
	encoder := base64.NewEncoder(base64.StdEncoding, lines)
	_, err = io.CopyBuffer(encoder, struct{ io.Reader }{content}, make([]byte, 64<<10))
	if err == nil {
		err = encoder.Close()
	}
	if err = errors.Join(err, content.Close()); err != nil {
		return err
	}
	_, err = io.WriteString(w, "\r\n")
	return err
}

// described writes the description of a file in a preview.
func described(w io.Writer, f *blob.File) error {
	_, err := fmt.Fprintf(w, "[%d bytes of a stored file]\r\n", f.Size)
	return err
}

// lineWriter breaks text into lines.
type lineWriter struct {
	out    io.Writer
	column int
	buffer []byte
}

// Write implements io.Writer.
func (l *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	l.buffer = l.buffer[:0]
	for len(b) > 0 {
		if l.column == lineLength {
			l.buffer, l.column = append(l.buffer, "\r\n"...), 0
		}
		part := b[:min(len(b), lineLength-l.column)]
		l.buffer, b = append(l.buffer, part...), b[len(part):]
		l.column += len(part)
	}
	if _, err := l.out.Write(l.buffer); err != nil {
		return 0, err
	}
	return n, nil
}
