package imap

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

const maxListed = 10_000

func folderField[T any](folder func(*T) *string) spec.Field {
	return spec.String("folder", folder, "Name of the folder.").Or(inbox)
}

func uidField[T any](uid func(*T) *any) spec.Field {
	return spec.Any("uid", uid, "UID of the message, as `list` and `props.uid` contain it, or a list of UIDs.").Eg("${props.uid}").Required()
}

// search selects messages; all its keys must match.
type search struct {
	From, To, Subject, Text, Since, Before string
	Seen, Unseen, Flagged, Unflagged       bool
}

var searchFields = []spec.Field{
	spec.String("from", func(s *search) *string { return &s.From }, "Text in the sender."),
	spec.String("to", func(s *search) *string { return &s.To }, "Text in the recipients."),
	spec.String("subject", func(s *search) *string { return &s.Subject }, "Text in the subject."),
	spec.String("text", func(s *search) *string { return &s.Text }, "Text in the headers or the message."),
	spec.String("since", func(s *search) *string { return &s.Since }, "First day of receipt, such as `2026-01-31`."),
	spec.String("before", func(s *search) *string { return &s.Before }, "Day after the last day of receipt."),
	spec.Bool("seen", func(s *search) *bool { return &s.Seen }, "Only messages that have been read."),
	spec.Bool("unseen", func(s *search) *bool { return &s.Unseen }, "Only messages that have not been read."),
	spec.Bool("flagged", func(s *search) *bool { return &s.Flagged }, "Only flagged messages."),
	spec.Bool("unflagged", func(s *search) *bool { return &s.Unflagged }, "Only messages that are not flagged."),
}

// check returns the problems of the days. They may be expressions.
func (s *search) check() (wrong []string) {
	for _, day := range []string{s.Since, s.Before} {
		if spec.Literal(day) && dayProblem(day) != "" {
			wrong = append(wrong, "search: "+dayProblem(day))
		}
	}
	return wrong
}

// dayProblem returns why a text is not a day, or "".
func dayProblem(text string) string {
	if _, err := time.Parse(time.DateOnly, text); err != nil {
		return "`" + spec.Clip(text) + "` is not a date such as 2026-01-31"
	}
	return ""
}

// criteria returns the search as the protocol has it.
func (s *search) criteria() (*imap.SearchCriteria, error) {
	c := &imap.SearchCriteria{}
	for name, value := range map[string]string{"From": s.From, "To": s.To, "Subject": s.Subject} {
		if value != "" {
			c.Header = append(c.Header, imap.SearchCriteriaHeaderField{Key: name, Value: value})
		}
	}
	if s.Text != "" {
		c.Text = []string{s.Text}
	}
	for _, day := range []struct {
		text string
		at   *time.Time
	}{{s.Since, &c.Since}, {s.Before, &c.Before}} {
		if day.text == "" {
			continue
		}
		if why := dayProblem(day.text); why != "" {
			return nil, badCall("search: %s", why)
		}
		*day.at, _ = time.Parse(time.DateOnly, day.text)
	}
	for _, f := range []struct {
		wanted bool
		flag   imap.Flag
		into   *[]imap.Flag
	}{{s.Seen, imap.FlagSeen, &c.Flag}, {s.Unseen, imap.FlagSeen, &c.NotFlag}, {s.Flagged, imap.FlagFlagged, &c.Flag}, {s.Unflagged, imap.FlagFlagged, &c.NotFlag}} {
		if f.wanted {
			*f.into = append(*f.into, f.flag)
		}
	}
	return c, nil
}

type list struct {
	Folder string
	Search search
}

var listOperation = connectors.Define(connectors.Operation{
	Name: "list", Safe: true,
	Check: func(w any) []string { return w.(*list).Search.check() },
	Doc:   "Lists the messages of a folder in the order of their UIDs, at most 10,000: maps with `uid`, `from`, `to`, `subject`, `date`, `size`, `seen` and `message_id`.",
	With: []spec.Field{
		folderField(func(l *list) *string { return &l.Folder }),
		spec.Object("search", func(l *list) *search { return &l.Search }, "Selects messages; all keys must match. Without it all messages are listed.", searchFields...),
	},
	Sample: "- call: mailbox.list\n  with: { search: { unseen: true, from: billing@example.com } }\n",
}, func(ctx context.Context, c *connection, w *list, _ *connectors.Call) (*connectors.Result, error) {
	criteria, err := w.Search.criteria()
	if err != nil {
		return nil, err
	}
	out := []any{}
	err = c.call(ctx, quoted("list", w.Folder), w.Folder, true, func(l *link) error {
		uids, err := l.search(criteria)
		if err != nil || len(uids) == 0 {
			return err
		}
		found := l.client.Fetch(imap.UIDSetNum(uids[:min(len(uids), maxListed)]...), &imap.FetchOptions{UID: true, Envelope: true, Flags: true, RFC822Size: true, InternalDate: true})
		messages, err := found.Collect()
		for _, m := range messages {
			out = append(out, summary(m))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &connectors.Result{Doc: document.FromValue(out)}, nil
})

type move struct {
	Folder, To string
	UID        any
}

var moveOperation = connectors.Define(connectors.Operation{
	Name: "move", ByKey: natural[move],
	Doc: "Moves messages to another folder. It returns `{ moved }`, the number of messages that were there: moving them again moves nothing.",
	With: []spec.Field{
		folderField(func(m *move) *string { return &m.Folder }),
		uidField(func(m *move) *any { return &m.UID }),
		spec.String("to", func(m *move) *string { return &m.To }, "Name of the other folder, which must exist.").Eg("Archive").Required(),
	},
	Sample: "- call: mailbox.move\n  with: { uid: \"${props.uid}\", to: Archive }\n",
}, func(ctx context.Context, c *connection, w *move, _ *connectors.Call) (*connectors.Result, error) {
	return c.change(ctx, quoted("move messages of", w.Folder), w.Folder, w.UID, "moved", func(l *link, set imap.UIDSet) error {
		_, err := l.client.Move(set, w.To).Wait()
		return err
	})
})

type flag struct {
	Folder      string
	UID         any
	Add, Remove []string
}

var flagOperation = connectors.Define(connectors.Operation{
	Name: "flag", ByKey: natural[flag],
	Doc: "Adds and removes flags of messages: `seen`, `flagged`, `answered`, `deleted`, `draft`, or a keyword. It returns `{ flagged }`, the number of messages that were there.",
	With: []spec.Field{
		folderField(func(f *flag) *string { return &f.Folder }),
		uidField(func(f *flag) *any { return &f.UID }),
		spec.Strings("add", func(f *flag) *[]string { return &f.Add }, "Flags to add.").Eg("[seen]"),
		spec.Strings("remove", func(f *flag) *[]string { return &f.Remove }, "Flags to remove."),
	},
	Check: func(w any) []string {
		f := w.(*flag)
		if len(f.Add)+len(f.Remove) == 0 {
			return []string{"add or remove is required"}
		}
		var wrong []string
		for _, name := range slices.Concat(f.Add, f.Remove) {
			if why := flagProblem(name); spec.Literal(name) && why != "" {
				wrong = append(wrong, why)
			}
		}
		return wrong
	},
	Sample: "- call: mailbox.flag\n  with: { uid: \"${props.uid}\", add: flagged }\n",
}, func(ctx context.Context, c *connection, w *flag, _ *connectors.Call) (*connectors.Result, error) {
	add, err := flags(w.Add)
	if err != nil {
		return nil, err
	}
	remove, err := flags(w.Remove)
	if err != nil {
		return nil, err
	}
	return c.change(ctx, quoted("flag messages of", w.Folder), w.Folder, w.UID, "flagged", func(l *link, set imap.UIDSet) error {
		if err := l.store(set, imap.StoreFlagsAdd, add); err != nil {
			return err
		}
		return l.store(set, imap.StoreFlagsDel, remove)
	})
})

// natural says that repeating a call changes nothing more.
func natural[W any](any) bool { return true }

// change applies a command to the messages that exist, and counts them.
func (c *connection) change(ctx context.Context, what, folder string, uid any, result string, command func(*link, imap.UIDSet) error) (*connectors.Result, error) {
	wanted, f := uids(uid)
	if f != nil {
		return nil, f
	}
	n := 0
	err := c.call(ctx, what, folder, false, func(l *link) error {
		there, err := l.search(&imap.SearchCriteria{UID: []imap.UIDSet{wanted}})
		if err != nil || len(there) == 0 {
			return err
		}
		n = len(there)
		return command(l, imap.UIDSetNum(there...))
	})
	if err != nil {
		return nil, err
	}
	o := &document.Object{}
	o.Set(result, document.Number(strconv.Itoa(n)))
	return &connectors.Result{Doc: document.FromValue(o)}, nil
}

// search returns the UIDs of the messages that match, in ascending order.
func (l *link) search(criteria *imap.SearchCriteria) ([]imap.UID, error) {
	data, err := l.client.UIDSearch(criteria, nil).Wait()
	if err != nil {
		return nil, err
	}
	return data.AllUIDs(), nil
}

func (l *link) store(set imap.UIDSet, op imap.StoreFlagsOp, flags []imap.Flag) error {
	if len(flags) == 0 {
		return nil
	}
	return l.client.Store(set, &imap.StoreFlags{Op: op, Silent: true, Flags: flags}, nil).Close()
}

// uids returns the UIDs in a setting: one or a list.
func uids(v any) (imap.UIDSet, *fault.Failure) {
	list, isList := document.Decode(v).([]any)
	if !isList {
		list = []any{v}
	}
	var set imap.UIDSet
	for _, e := range list {
		text := fmt.Sprint(document.Decode(e))
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil || n == 0 {
			return nil, badCall("uid: `%s` is not the UID of a message", spec.Clip(text))
		}
		set.AddNum(imap.UID(n))
	}
	if len(set) == 0 {
		return nil, badCall("uid: the list is empty")
	}
	return set, nil
}

var systemFlags = map[string]imap.Flag{
	"seen": imap.FlagSeen, "flagged": imap.FlagFlagged, "answered": imap.FlagAnswered, "deleted": imap.FlagDeleted, "draft": imap.FlagDraft,
}

// flagProblem returns why a name is not a flag, or "".
func flagProblem(name string) string {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) }) {
		return "`" + spec.Clip(name) + "` is not a flag or a keyword of ASCII letters and digits"
	}
	return ""
}

func flags(names []string) ([]imap.Flag, error) {
	out := make([]imap.Flag, 0, len(names))
	for _, name := range names {
		if why := flagProblem(name); why != "" {
			return nil, badCall("%s", why)
		}
		f, known := systemFlags[strings.ToLower(name)]
		if !known {
			f = imap.Flag(name)
		}
		out = append(out, f)
	}
	return out, nil
}

func quoted(verb, folder string) string { return fmt.Sprintf("cannot %s %q", verb, folder) }
