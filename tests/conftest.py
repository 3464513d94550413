"""What every test shares: Hypothesis draws from the test's own name, so that a red test is red again."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "house",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("long", parent=settings.get_profile("house"), derandomize=False, max_examples=2000)
settings.load_profile("house")
