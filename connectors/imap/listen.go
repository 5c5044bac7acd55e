package imap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Bounds of one batch.
const (
	batchMessages = 50
	batchBytes    = 8 << 20
)

// subscribe are the settings of a subscription.
type subscribe struct {
	Folder, Archive string
	Idle, Seen      bool
	Every           time.Duration
}

func subscription() *connectors.Subscription {
	return &connectors.Subscription{
		Doc: "Delivers the messages of a folder in the order in which the server numbered them, each once, those that are there at the start included; with `seen` " +
			"only those that have not been read. The document is `{ from, to, cc, reply_to, subject, date, message_id, text, html, attachments }`; an attachment is `{ filename, type, raw }`, with `encoding: base64` unless it is text.",
		Sample: "subscribe:\n  connection: mailbox\n  archive: Processed\n",
		Props:  "`folder`, `uid`, `received` and `size`.",
		With: []spec.Field{
			folderField(func(s *subscribe) *string { return &s.Folder }),
			spec.Bool("idle", func(s *subscribe) *bool { return &s.Idle }, "Let the server report new messages at once (IDLE). A server without it is asked.").Or(true),
			spec.Duration("every", func(s *subscribe) *time.Duration { return &s.Every }, "How often to look for new messages; with `idle` in addition to the server's reports.").Or(time.Minute).Min(100 * time.Millisecond),
			spec.String("archive", func(s *subscribe) *string { return &s.Archive }, "Folder to move accepted messages to. It is created if it is missing. When a subscription starts, all messages up to its position are moved."),
			spec.Bool("seen", func(s *subscribe) *bool { return &s.Seen }, "Mark accepted messages as read."),
		},
		NewWith:   func() any { return &subscribe{} },
		Exclusive: func(any) bool { return true },
		Check: func(with any) []string {
			if s := with.(*subscribe); s.Archive != "" && s.Seen {
				return []string{"archive and seen exclude each other"}
			}
			return nil
		},
	}
}

// Listen implements connectors.Listener.
func (c *connection) Listen(ctx context.Context, with any, host *connectors.Host) error {
	s := c.newSession()
	w := *with.(*subscribe)
	err := s.Listen(ctx, host, func(ctx context.Context, l *link) error {
		r := &reader{subscribe: w, link: l, host: host, maxSize: c.MaxSize}
		return l.use(context.WithoutCancel(ctx), func() error { return r.run(ctx) })
	})
	return errors.Join(err, s.Close())
}

// reader delivers the messages of one folder over one link.
type reader struct {
	subscribe
	link    *link
	host    *connectors.Host
	maxSize int64
	stream  string
	last    imap.UID // the last accepted message; 0: none yet
}

// run delivers until ctx ends, or returns why it cannot go on.
func (r *reader) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { r.link.conn.Close() })
	defer stop()
	selected, err := r.link.open(r.Folder, r.Archive == "" && !r.Seen)
	if err != nil {
		return failed(ctx, quoted("open", r.Folder), err)
	}
	r.stream = fmt.Sprintf("%s/%d", r.Folder, selected.UIDValidity)
	cursor, err := r.host.Cursor(ctx, r.stream)
	if err != nil {
		return err
	}
	if cursor != nil {
		n, err := strconv.ParseUint(string(cursor), 10, 32)
		if err != nil {
			return fmt.Errorf("the stored position %q is not a UID", cursor)
		}
		r.last = imap.UID(n)
		if err := r.settle(1, r.last); err != nil { // a kill may have come between
			return failed(ctx, quoted("settle the messages of", r.Folder), err)
		}
	}
	for ctx.Err() == nil {
		if err := r.pass(ctx); err != nil {
			return err
		}
		r.host.Up()
		if err := r.wait(ctx); err != nil {
			return failed(ctx, quoted("wait for messages of", r.Folder), err)
		}
	}
	return nil
}

// pass delivers the messages that have arrived.
func (r *reader) pass(ctx context.Context) error {
	what := quoted("read", r.Folder)
	criteria := &imap.SearchCriteria{UID: []imap.UIDSet{{imap.UIDRange{Start: r.last + 1, Stop: 0}}}}
	if r.Seen {
		criteria.NotFlag = []imap.Flag{imap.FlagSeen}
	}
	uids, err := r.link.search(criteria)
	if err != nil {
		return failed(ctx, what, err)
	}
	// A range up to the last message contains it even if it is older.
	slices.Sort(uids)
	rest := func() []imap.UID { return uids[sort.Search(len(uids), func(i int) bool { return uids[i] > r.last }):] }
	for uids = rest(); len(uids) > 0 && ctx.Err() == nil; uids = rest() {
		r.host.Lag(int64(len(uids)))
		if err := r.next(ctx, uids[:min(len(uids), batchMessages)]); err != nil {
			return err
		}
	}
	r.host.Lag(0)
	return nil
}

// next delivers the first of the given messages. Their large attachments are
// stored until they are accepted.
func (r *reader) next(ctx context.Context, uids []imap.UID) error {
	ctx, release := blob.Begin(ctx)
	defer release()
	batch, err := r.batch(ctx, uids)
	if err != nil {
		return failed(ctx, quoted("read", r.Folder), err)
	}
	return r.deliver(ctx, batch)
}

// batch fetches the first of the given messages, up to the size of a batch. If
// some have been deleted, last is still the last UID of the batch.
func (r *reader) batch(ctx context.Context, uids []imap.UID) (*batch, error) {
	found, err := r.link.client.Fetch(imap.UIDSetNum(uids...), &imap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true}).Collect()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *imapclient.FetchMessageBuffer) int { return int(int64(a.UID) - int64(b.UID)) })
	b := &batch{last: uids[len(uids)-1]}
	bytes := int64(0)
	for i, m := range found {
		if bytes += min(m.RFC822Size, r.maxSize); i > 0 && bytes > batchBytes {
			b.last = found[i-1].UID
			break
		}
		content, err := r.content(ctx, m)
		if err != nil {
			return nil, err
		}
		if content == nil {
			continue // deleted meanwhile
		}
		b.uids = append(b.uids, m.UID)
		b.messages = append(b.messages, r.message(m, content))
	}
	return b, nil
}

// batch is a number of messages to deliver.
type batch struct {
	messages []*connectors.Message
	uids     []imap.UID // of messages
	last     imap.UID
}

// content is a message: parsed, or as it is if it is invalid or too large. It is
// nil if the message does not exist.
type content struct {
	letter  *letter
	raw     *blob.Content
	size    int64 // of the message
	invalid error
}

// content fetches a message, or its headers if it is too large. The server may
// send more than it said.
func (r *reader) content(ctx context.Context, m *imapclient.FetchMessageBuffer) (*content, error) {
	section := &imap.FetchItemBodySection{Peek: true}
	if m.RFC822Size > r.maxSize {
		section.Specifier = imap.PartSpecifierHeader
	}
	var out *content
	size := m.RFC822Size
	err := r.fetch(m.UID, section, func(text imap.LiteralReader) (err error) {
		if size = max(size, text.Size()); size > r.maxSize {
			out = &content{invalid: fmt.Errorf("the message has %d bytes, more than max_size allows", size)}
			out.raw, err = blob.Read(ctx, io.LimitReader(text, r.maxSize), r.maxSize)
			return err
		}
		out, err = received(ctx, text)
		return err
	})
	if err == nil && out != nil && out.invalid != nil && out.raw == nil { // it was parsed while it arrived
		err = r.fetch(m.UID, section, func(text imap.LiteralReader) (err error) {
			out.raw, err = blob.Read(ctx, io.LimitReader(text, r.maxSize), r.maxSize)
			return err
		})
		if err == nil && out.raw == nil {
			out = nil // deleted meanwhile
		}
	}
	if out != nil {
		out.size = size
	}
	return out, err
}

// fetch calls f with a section of a message, unless the message does not exist.
func (r *reader) fetch(uid imap.UID, section *imap.FetchItemBodySection, f func(text imap.LiteralReader) error) error {
	command := r.link.client.Fetch(imap.UIDSetNum(uid), &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}})
	var failed error
	for data := command.Next(); data != nil; data = command.Next() {
		for item := data.Next(); item != nil; item = data.Next() {
			body, ok := item.(imapclient.FetchItemDataBodySection)
			if !ok || body.Literal == nil || failed != nil {
				continue
			}
			if failed = f(body.Literal); failed == nil {
				_, failed = io.Copy(io.Discard, body.Literal)
			}
		}
	}
	return errors.Join(failed, command.Close())
}

// received reads a message of which large attachments are stored. It is read into
// memory first if it is small, so that an invalid one is at hand.
func received(ctx context.Context, text imap.LiteralReader) (*content, error) {
	var raw *blob.Content
	from := &source{r: text}
	var in io.Reader = from
	if text.Size() <= blob.Threshold || !blob.Open(ctx) {
		b, err := io.ReadAll(from)
		if err != nil {
			return nil, err
		}
		raw, in = &blob.Content{Bytes: b}, bytes.NewReader(b)
	}
	l, err := parse(ctx, in)
	var known *fault.Failure // of the store
	switch {
	case from.err != nil:
		return nil, from.err
	case errors.As(err, &known):
		return nil, known
	case err != nil:
		return &content{raw: raw, invalid: err}, nil
	}
	return &content{letter: l}, nil
}

// source remembers why the server could not be read.
type source struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// message returns the message to deliver.
func (r *reader) message(m *imapclient.FetchMessageBuffer, c *content) *connectors.Message {
	props := &document.Object{}
	props.Set("folder", r.Folder)
	props.Set("uid", number(int64(m.UID)))
	props.Set("received", m.InternalDate.UTC().Format(time.RFC3339))
	props.Set("size", number(c.size))
	out := &connectors.Message{
		Props: props, Stream: r.stream, Cursor: strconv.AppendUint(nil, uint64(m.UID), 10), Time: m.InternalDate,
	}
	out.Invalid = c.invalid
	switch {
	case c.invalid == nil:
		out.Doc = c.letter.document(m.InternalDate)
	case c.raw.Name != "":
		out.Doc = document.FromValue(c.raw.Reference("message.eml", "message/rfc822"))
	default:
		out.Doc = document.New(c.raw.Bytes, "message/rfc822", "")
	}
	return out
}

// deliver hands a batch over, and settles the messages that were accepted.
func (r *reader) deliver(ctx context.Context, b *batch) error {
	var failure error
	from := r.last + 1
	for i, err := range r.host.DeliverBatch(ctx, b.messages) {
		if err != nil {
			failure = err
			break
		}
		r.last = b.uids[i]
	}
	if failure == nil {
		r.last = b.last
	}
	if r.last < from {
		return failure
	}
	if err := r.settle(from, r.last); err != nil && failure == nil {
		return failed(ctx, quoted("settle the messages of", r.Folder), err)
	}
	return failure
}

// settle archives or marks the messages with these UIDs.
func (r *reader) settle(from, to imap.UID) error {
	if r.Archive == "" && !r.Seen {
		return nil
	}
	criteria := &imap.SearchCriteria{UID: []imap.UIDSet{{imap.UIDRange{Start: from, Stop: to}}}}
	if r.Seen {
		criteria.NotFlag = []imap.Flag{imap.FlagSeen}
	}
	there, err := r.link.search(criteria)
	if err != nil || len(there) == 0 {
		return err
	}
	set := imap.UIDSetNum(there...)
	if r.Seen {
		return r.link.store(set, imap.StoreFlagsAdd, []imap.Flag{imap.FlagSeen})
	}
	_, err = r.link.client.Move(set, r.Archive).Wait()
	var answer *imap.Error
	if errors.As(err, &answer) && missing(answer) {
		if err := r.link.client.Create(r.Archive, nil).Wait(); err != nil {
			return err
		}
		_, err = r.link.client.Move(set, r.Archive).Wait()
	}
	return err
}

// wait returns when there may be new messages, or when ctx ends.
func (r *reader) wait(ctx context.Context) error {
	timer := time.NewTimer(r.Every)
	defer timer.Stop()
	if !r.Idle || !r.link.client.Caps().Has(imap.CapIdle) {
		select {
		case <-timer.C:
			return r.link.client.Noop().Wait()
		case <-ctx.Done():
			return nil
		}
	}
	idle, err := r.link.client.Idle()
	if err != nil {
		return err
	}
	select {
	case <-r.link.changed:
	case <-timer.C:
	case <-r.link.client.Closed():
	case <-ctx.Done():
	}
	err = idle.Close()
	if e := idle.Wait(); err == nil {
		err = e
	}
	return err
}

func number(n int64) document.Number { return document.Number(strconv.FormatInt(n, 10)) }

func hasFlag(flags []imap.Flag, wanted imap.Flag) bool {
	return slices.ContainsFunc(flags, func(f imap.Flag) bool { return strings.EqualFold(string(f), string(wanted)) })
}
