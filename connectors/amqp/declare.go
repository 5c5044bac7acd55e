package amqp

import (
	"errors"
	"fmt"
	"strconv"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
)

// check returns names and arguments that are not valid. Values may still be
// expressions.
func (t *topology) check() (wrong []string) {
	for _, e := range t.Exchanges {
		wrong = append(wrong, tooLong("declare: exchange", e.Name)...)
	}
	for _, q := range t.Queues {
		wrong = append(wrong, tooLong("declare: queue", q.Name)...)
		if q.Arguments != nil && !isText(q.Arguments) {
			if _, err := tableOf(q.Arguments); err != nil {
				wrong = append(wrong, "declare: arguments of the queue "+q.Name+": "+err.Error())
			}
		}
	}
	for _, b := range t.Bindings {
		wrong = append(wrong, tooLong("declare: routing_key", b.RoutingKey)...)
	}
	return wrong
}

func isText(v any) bool { _, ok := v.(string); return ok }

func tooLong(what, s string) []string {
	if len(s) > maxShort {
		return []string{what + " has more than 255 bytes"}
	}
	return nil
}

// create creates the missing parts. The broker closes the channel at the first
// difference, and its reason names the property.
func (t *topology) create(conn *amqp091.Connection) error {
	if len(t.Exchanges)+len(t.Queues)+len(t.Bindings) == 0 {
		return nil
	}
	ch, err := conn.Channel()
	if err != nil {
		return connectors.Retry(fault.CodeConnect, "cannot open a channel: "+err.Error(), 0, err)
	}
	for _, e := range t.Exchanges {
		if err := ch.ExchangeDeclare(e.Name, e.Type, e.Durable, false, false, false, nil); err != nil {
			return undeclared("the exchange "+e.Name, err)
		}
	}
	for _, q := range t.Queues {
		arguments, err := tableOf(q.Arguments)
		if err != nil {
			return connectors.Failf(CodeBadCall, false, err, "cannot declare the queue %s: %v", q.Name, err)
		}
		if _, err := ch.QueueDeclare(q.Name, q.Durable, false, false, false, arguments); err != nil {
			return undeclared("the queue "+q.Name, err)
		}
	}
	for _, b := range t.Bindings {
		if err := ch.QueueBind(b.Queue, b.RoutingKey, b.Exchange, false, nil); err != nil {
			return undeclared("the binding of "+b.Queue+" to "+b.Exchange, err)
		}
	}
	return ch.Close()
}

func undeclared(what string, err error) *fault.Failure {
	return failed("cannot declare "+what, err)
}

// tableOf returns an object as a table of the protocol. nil is an empty table.
func tableOf(v any) (amqp091.Table, error) {
	if v == nil {
		return nil, nil
	}
	converted, err := fieldOf(v)
	if err != nil {
		return nil, err
	}
	table, ok := converted.(amqp091.Table)
	if !ok {
		return nil, errors.New("must be a map")
	}
	return table, nil
}

// fieldOf returns a value as a field of the protocol.
func fieldOf(v any) (any, error) {
	switch v := document.Decode(v).(type) {
	case nil, bool, string:
		return v, nil
	case document.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n, nil
		}
		f, err := strconv.ParseFloat(string(v), 64)
		return f, err
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			var err error
			if list[i], err = fieldOf(e); err != nil {
				return nil, err
			}
		}
		return list, nil
	case *document.Object:
		table := make(amqp091.Table, v.Len())
		for i := range v.Len() {
			key, e := v.At(i)
			f, err := fieldOf(e)
			switch {
			case err != nil:
				return nil, err
			case len(key) > maxShort:
				return nil, errors.New("a name has more than 255 bytes")
			}
			table[key] = f
		}
		return table, nil
	}
	return nil, fmt.Errorf("a %T has no form in the protocol", v)
}
