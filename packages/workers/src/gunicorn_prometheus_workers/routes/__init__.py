"""How frameworks tell their routes, a module for each.

Members of the entry-point group ``gunicorn_prometheus.routes`` bear the name
of the module whose presence in the process says that the application uses the
framework. They are functions without arguments that are called once in a
worker process, after the application has been loaded, and give a
:data:`~gunicorn_prometheus_workers.routing.Resolver`, or None if the framework
will set :data:`~gunicorn_prometheus_workers.routing.ROUTE` from now on.
"""
